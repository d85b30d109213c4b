"""The English words by which a turn falls into segments: what asks, what ties, what points back."""

import re

_VERBS = (
    "add|advise|analy[sz]e|answer|brainstorm|build|calculate|check|clarify|classify|come up|compare|complete|compose|"
    "compute|convert|correct|create|debug|define|derive|describe|design|determine|discuss|draft|draw up|estimate|"
    "evaluate|explain|extract|find|fix|generate|give|help|identify|implement|improve|interpret|justify|list|make|"
    "name|optimi[sz]e|outline|paraphrase|plan|propose|prove|recommend|refactor|remind|rephrase|review|rewrite|"
    "shorten|show|simplify|sketch|solve|sort|suggest|summari[sz]e|teach|tell|test|translate|turn|walk|work out|write"
)
_ASKS = (
    r"(?:(?:can|could|would|will) (?:you|i|we|someone|he|she|they|it|my|the|an?)\b|"
    r"(?:i|we)(?:'d| would)? (?:need|want|like|love|wonder|am wondering|have to know)\b|i'm wondering\b|"
    r"(?:what|what's|whats|how|how's|why|who|whom|whose|when|where|which)\b|"
    r"(?:is|are|am|was|were|do|does|did|has|have|should|may|must) (?:i|we|you|he|she|they|it|there|this|that|my|the|"
    r"an?|your|our)\b)"
)
_POLITE = r"(?:please[,:]? |kindly |now,? |hi[,!.]? |hello[,!.]? |hey[,!.]? |so,? |just |maybe |ok(?:ay)?[,.]? )*+"
_THEN = r"(?:and )?(?:then|afterwards?|after (?:that|this)|next|finally|lastly|in the end|once (?:that|this) is done)"
_TIES = r"(?:and |oh,? (?:and )?|but )?"
_APART = (
    rf"{_TIES}(?:separately|apart from that|on another note|on a different (?:note|topic)|unrelated(?:ly)?|by the way|"
    r"another (?:thing|question)|one (?:more|other|last) (?:thing|question)|"
    r"my (?:second|other|next|third|last) (?:question|request)(?: is)?)"
)
_ALSO = (
    rf"(?:{_TIES}(?:also|additionally|in addition|besides(?: that| this)?|furthermore|moreover|"
    r"while you(?:'re| are) at it|meanwhile|at the same time|(?:first|second|third|fourth|fifth)(?:ly)?|"
    r"to (?:begin|start) with)|oh,? and|and|plus|as well as|along with|together with)"
)
_SOME = (
    r"(?:i have )?(?:two|three|four|five|six|some|several|a few|a couple of|a) (?:\w+ )?"
    r"(?:things|questions?|tasks|requests)(?=:)"
)
OPENING = re.compile(rf"\s*(?:(?P<then>{_THEN})|(?P<apart>{_APART})|{_ALSO}|{_SOME})\b[\s,:;.\-–—]*", re.IGNORECASE)
"""`apart`: what follows is another subject."""
ASK = re.compile(rf"\s*{_POLITE}(?:(?:{_VERBS})\b|{_ASKS})", re.IGNORECASE)
ASK_AFTER_IF = re.compile(rf",\s+{_POLITE}(?:{_VERBS})\b", re.IGNORECASE)
INNER = re.compile(
    rf"(?:[,;:]|\s[-–—]|(?<!\s))\s++(?=(?:{_THEN}|{_APART}|{_ALSO})\b)|;\s+|"
    rf",\s++(?={_POLITE}(?:{_VERBS})\b)|\s[-–—]\s",
    re.IGNORECASE,
)
"""Where a sentence may fall in two, if a thing is asked on either side."""
BOUNDARY = re.compile(r"(?<![.!?])[.!?]++[\"')\]]*+\s+|\n+")
ABBREVIATED = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs?|mr|mrs|ms|dr|prof|st|no|art|sec|cf|inc|ltd|co|u\.s|approx)|\b(?-i:[A-Z]))\.\s*$",
    re.IGNORECASE,
)
ITEM = re.compile(r"[ \t]{0,3}(?:\(?(?P<number>\d{1,2})[.):]|[-*•–])[ \t]+(?=\S)")
INLINE = re.compile(r"(?:(?<=\s)|^)\(?([1-9])[.)][ \t]+(?=[A-Za-z])", re.MULTILINE)
LETTERED = re.compile(r"(?:(?<=\s)|^)\(?(?P<number>[a-h])[.)][ \t]+(?=[a-z])", re.MULTILINE | re.IGNORECASE)
CHOICE = re.compile(r"[ \t]*\(?[A-Ja-j][.):][ \t]+\S")
CODE = re.compile(
    r"(?:\t| {4,})\S|[ \t]*(?:>>>|\.\.\. |\$ |#include|@\w+$|def \w+\(|class \w+[:(]|import \w+$|from [\w.]+ import|"
    r"return\b|assert\b|[{}\])]+[;,]?$|<\/?\w+[^>]*>|//|/\*)"
)
_TERMS = (
    r"(?:please )?(?:answer (?:the following|these|this|my|the) |"
    r"(?:answer|reply|respond|explain|write|show|begin|start|end|finish) (?:with|in|only|as|by|using|each|briefly|both|"
    r"all|your|step|that|this|it)\b|use|keep|be|don't|do not|make sure|make it|include|assume|only|limit|format|no )"
)
TERMS = re.compile(rf"\s*{_TERMS}(?:\b|(?<=\W))", re.IGNORECASE)
"""How a sentence begins that says how to answer."""
AFTER_COMMA = re.compile(rf"[^,.?!\n]{{1,40}},\s+{_TERMS}", re.IGNORECASE)
"""The same after a few words: "For me, answer each in German"."""
CONTINUES = re.compile(
    rf"\s*(?:{_TERMS}|(?:please )?(?:thanks|thank you|it|it's|they|"
    r"these|the (?:function|answers?|result|output|input|code|program|first|second|other)\b|"
    r"(?:can|could) you (?:please )?help(?: me)?(?: with (?:this|that|it))?\s*\?|any (?:ideas?|help|thoughts)|"
    r"(?:is|does) (?:that|this)\b|what do you think|for example|e\.g\.))(?:\b|(?<=\W))",
    re.IGNORECASE,
)
"""How a sentence begins that only says more about what was asked before it."""
GIVEN = re.compile(
    r"\s*(?:you(?:'re| are| will be)? (?:given|presented)|given (?:a|an|the|this|these|two|some)|here(?:'s| is| are)|"
    r"consider the|read the|look at the|(?:based on|according to|in) the (?:following|text|passage|article))\b",
    re.IGNORECASE,
)
"""How a turn begins that brings what it asks about."""
WORKS_ON = re.compile(
    rf"\s*{_POLITE}(?:(?:can|could|would) you )?{_POLITE}(?:classify|correct|detect|edit|extract|label|paraphrase|"
    r"polish|proofread|punctuate|rephrase|reply to|respond to|rewrite|score|shorten|simplify|summari[sz]e|tag|"
    r"transcribe|translate|write an? (?:reply|response|answer|summary|title|headline)(?: to| of| for)?)\b",
    re.IGNORECASE,
)
"""An order to work on a text."""
BRINGS = re.compile(r":|\b(?:following|below)\b|\n\s*$", re.IGNORECASE)
"""In such an order: that the text follows."""
FOLLOWING = re.compile(
    rf"\s*{_POLITE}(?:(?:can|could|would) you )?{_POLITE}(?:{_VERBS})\b[^\n]*?(?<!of )\b(?:the following|below)\b",
    re.IGNORECASE,
)
"""Any order that says so."""
QUOTED = re.compile(
    r'"[^"\n]{1,2000}"|“[^”]{1,2000}”|„[^“”]{1,2000}[“”]|«[^»]{1,2000}»|`[^`\n]{1,500}`|'
    r"(?<!\w)'(?=\S)(?:[^'\n]|(?<=\w)'(?=\w)){1,500}(?<=\S)'(?!\w)|"
    r"‘(?:[^‘’\n]|(?<=\w)’(?=\w)){1,500}’(?!\w)"
)
"""An apostrophe within a word (don't) neither opens nor closes."""
_ANSWERED = (
    "calculations?|code|derivation|example|formula|math|output|proof|query|reasoning|script|sources?|steps|table|"
    "working"
)
LEANS = re.compile(
    r"\b(?:it|its|them|their|those|both|everything|the (?:above|former|latter|previous|answers?|results?|summary)"
    r"(?! of\b)|(?:do|does|did|is|was|can|could|would|about|with|from|use|turn|make|explain|translate|summari[sz]e|"
    r"rewrite) (?:this|that)|(?:this|that)(?=\W*$|[?.,;!])|what about|"
    r"which ones?(?! of (?:the|my|our|your)\b)(?!.{0,80}\bor\b)|"
    rf"(?:show|give|explain|describe|include|write|draw) (?:(?:me|us) )?(?:the|your) (?:{_ANSWERED})"
    r"(?=\W*$|[?.,;!]))\b",
    re.IGNORECASE,
)
LEANS_ON_SOMEBODY = re.compile(
    r"(?:(?!\b(?:my|our|your|an?|the|some\w*|any\w*|every\w*|who\w*)\b|(?-i:\s[A-HJ-Z][a-z])).)*?"
    r"\b(?:he|she|him|her|his)\b",
    re.IGNORECASE | re.DOTALL,
)
"""From the start of an order or question: somebody whom it does not name itself."""
_HERE = r"\b(?:this|that|these|those)\b[^:.?!\n]{0,60}"
BROUGHT = re.compile(rf"{_HERE}:", re.IGNORECASE)
BROUGHT_BELOW = re.compile(rf"{_HERE}(?:[.?!]?\s*$|:)", re.IGNORECASE)
"""In such: what it brings itself; the second where material stands below it."""
LEANS_ON_ALL = re.compile(
    r"\b(?:both|everything|all (?:of (?:it|this|that|them|these|the above)|the above|three|four|answers)|"
    r"the (?:above|answers|results))\b",
    re.IGNORECASE,
)
EXPLETIVE = re.compile(
    r"\b(?:(?:is|was|would|does|can|if|that|when|whether|how long) it|it(?:'s| is| was| would be| takes?)) "
    r"(?:\w+ ){0,2}(?:to|that|for|when|if|take|mean|rain\w*)\b|"
    r"\b(?:this|that) (?:year|month|week|morning|evening|time)\b|`[^`]*`|\"[^\"]*\"",
    re.IGNORECASE,
)
"""Words that look as if they pointed back, and do not."""
LEAN_WORDS = 6
ANNOUNCES = re.compile(
    r"\s*(?:$|(?:please|hi|hello|hey|help|can you|could you|would you|i need|i want|i have|i'd like|answer|do|tackle|"
    r"here|these|a few|some|several|two|three|four|five|six|my|questions?|tasks?|todo|to do|the following)\b)",
    re.IGNORECASE,
)
ANNOUNCING_WORDS = 16
ANNOUNCING = re.compile(
    r"a|able|about|all|also|an|and|answers?|are|as|at|below|both|by|can|clarify|clear|concepts?|could|couple|d|different|"
    r"do|each|everybody|everyone|explain|few|five|folks|following|follows|for|four|from|get|give|guys|have|hello|help|here|"
    r"hey|hi|i|in|is|issues|items?|it|jobs|just|know|like|list|ll|look|love|m|many|me|more|my|need|now|of|on|one|ones|out|"
    r"parts?|please|points|problems?|questions?|quick|requests?|respond|s|separate|several|short|six|solve|some|stuff|"
    r"tackle|tasks?|team|tell|terms|thanks?|the|there|these|they|things?|this|those|three|to|today|todo|topics|two|"
    r"unrelated|us|various|ve|want|we|what|with|work|would|you|your|\d+",
    re.IGNORECASE,
)
"""Words that announce a list and say nothing else."""
ANNOUNCING_ORDER = re.compile(
    rf"\s*{_POLITE}(?:for me,? )?(?:(?:can|could|would|will) you |(?:i|we)(?:'d| would)? (?:need|want|like)(?: you)? "
    rf"(?:to )?)?{_POLITE}(?:address|answers?|be|carry out|clarify|complete|do|explain|go through|handle|help|keep|"
    r"know|look at|perform|reply|respond|solve|tackle|tell|use|work (?:on|through))\b",
    re.IGNORECASE,
)
"""An order that is carried out by doing what a list says, or that says how; others make something of the list."""
ABOUT_LIST = re.compile(r"\b(?:these|those|the following|below)\b", re.IGNORECASE)
CONTENT_FOLLOWS = re.compile(r":\s*$|[^.?!\s][ \t]*\n?$")
IMPERSONAL = re.compile(
    r"\b(?:tell|give|show|help|write|send|teach|remind|make|draft|find|get|to|for) me\b|"
    r"\bi(?:'d| would)? (?:need|want|like|wonder)\b",
    re.IGNORECASE,
)
PERSONAL = re.compile(r"\b(?:i|my|me|mine|we|us|our|ours)\b", re.IGNORECASE)
"""Who asks like this asks about the case that he told."""
SPEAKER = re.compile(r"^[ \t]*([A-Z][\w ]{0,24}):[ \t]", re.MULTILINE)
WORD = re.compile(r"[^\W_]+")
COMMON = re.compile(
    r"the|and|for|but|not|you|your|can|could|would|will|should|shall|may|might|must|what|whats|how|why|who|whom|"
    r"whose|when|where|which|are|was|were|been|being|does|did|done|has|have|had|get|got|that|this|these|those|"
    r"they|them|their|there|then|than|his|her|him|she|its|our|out|any|all|one|two|much|many|more|most|some|such|"
    r"very|too|also|just|only|now|old|about|with|from|into|over|please|help|need|want|know|tell|think|make|made|"
    r"like|going|good|right|thing|things|each|own|below|first|finally|final|answers?|responses?|requests?|instructions?|"
    r"tasks?|lists?|lets?|describes|appropriately|completes|relevant|facts?|steps?|reason|state|line",
    re.IGNORECASE,
)
"""Words that say nothing of what a question is about, those of the form of an answer among them."""
