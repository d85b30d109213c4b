# ruff: noqa: SIM905 - a list of words reads as words
"""Given names that are seldom common words, as a cue that a capitalised pair is a person.

A written list for the languages the team meets most; a name that is not on it still needs only a cue ("patient",
"Mr", "my name is"). Words that are also places, months or everyday English are left out on purpose.
"""

GIVEN_NAMES = frozenset(
    """
    aaron abdul abdullah abigail abraham adam adele adrian adriana agnes ahmad ahmed aisha akira alan albert alberto
    alejandra alejandro alexander alexandra alexis alfred ali alice alicia alison allison amanda amelia amina amir amy
    ana anastasia andrea andreas andrew andrzej angela angelica anil anita anja ann anna anne annette annie anthony
    antoine antonio anton anya arjun arthur ashley astrid aurora ava barbara beatrice benjamin bernard bernd beth
    bettina beverly birgit bjorn bob bradley brandon brenda brendan brian bridget bruce caitlin camille carl carla
    carlos carmen carol caroline carolyn catherine cathy cecilia cedric charles charlotte cheryl chloe chris christian
    christina christine christoph christopher cindy claire clara claudia clemens colin connor cristina crystal cynthia
    daniel daniela danielle darren dave david deborah debra dennis derek diana diane diego dieter dmitri dmitry dolores
    dominic dominik donald donna doris dorothy douglas dylan edith eduardo edward eileen elaine eleanor elena eli elias
    elif elisabeth elise eliza elizabeth ella ellen emil emily emma enrique eric erica erik erika ernest esther ethan
    eugene eva evan evelyn fatima felicity felix fernanda fernando fiona florian frances francesca francesco francis
    francisco francois frank franz fred frederick frederik gabriel gabriela gareth gary geoffrey george georgia gerald
    gerard gerhard giovanni giulia giuseppe gloria gordon graham greg gregory guillermo gustav hana hannah hans harald
    harold harriet harry hassan heather hector heidi heinrich heinz helen helena helga henri henrik henry hiroshi
    howard hugo hussein ian ibrahim igor ines ingrid irene irina isaac isabel isabella isabelle ismail ivan jack
    jackie jacob jacqueline jacques jakob jakub james jamie jan jane janet janice jasmine jason javier jean jeff
    jeffrey jennifer jenny jeremy jerry jesse jessica jill jim joan joanna joe joel joerg johan johann johanna
    johannes john jonas jonathan jorge jose joseph joshua joyce juan juanita judith judy julia julian julie juliet
    jurgen justin kamal karen karin karl karolina kate katharina katherine kathleen kathryn kathy katie katja keith
    kelly kenneth kenji kerstin kevin khalid kimberly klaus krzysztof kristen kristin kyle larry lars laura lauren
    laurent lea leah lee leila lena leo leon leonard leonardo leslie liam lillian lina linda lisa lois lorenzo lori
    louis louise luca lucas lucia lucy luis luisa lukas luke lydia maarten madison magdalena mahmoud malcolm manfred
    manuel marcel marco marcus margaret maria mariam marianne marie marilyn mario marion marjorie marko markus marta
    martha martin martina mary mateo mathias matilda matteo matthew matthias maureen maurice max maya megan mehmet mei
    melanie melissa mia michael michaela michal michel michelle miguel mikael mike mikhail mildred ming miriam mohamed
    mohammad mohammed moritz muhammad mustafa nadia nancy naomi natalia natalie natasha nathan neil nicholas nicola
    nicolas nicole nikhil nikolai nina noah noel nora norman olga oliver olivia olga omar oscar oskar otto pablo
    pamela patricia patrick paul paula pauline pavel pedro peggy penelope peter petra philip philipp philippe phillip
    phyllis pierre pieter piotr priya rachel rahul raj rajesh ralph ramon raquel raul raymond rebecca reinhard renate
    rene ricardo richard rita robert roberto robin rodrigo roger roland ronald rosa rosemary rosie roy ruben rudolf
    ruth ryan sabine sabrina salma salvador sam samantha samir samuel sandeep sandra sanjay sara sarah scott sean
    sebastian sergei sergio shannon sharon shaun sheila shirley silvia simon simone sofia sonia sophia sophie stacy
    stanley stefan stefanie stephanie stephen steve steven stuart sunita susan susanne suzanne svetlana sven sylvia
    takeshi tamara tanya tara tatiana ted teresa terry thea theo theodore theresa thomas tiffany tim timothy tobias
    todd tom tomas tommy toni tony tracy tyler ulrich ulrike ursula uwe valentina valerie vanessa vera veronica
    victor victoria vijay viktor vincent viola vladimir walter wanda wayne wei wendy werner wilhelm william
    wolfgang xavier yasmin yolanda yosef yuki yuri yusuf yvonne zachary zeynep zoe
    """.split()
)
