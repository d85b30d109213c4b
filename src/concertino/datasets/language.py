"""Is a text clearly in another language than the one wanted? In doubt it is not."""

from typing import Any

from concertino.errors import ConfigurationError, RecipeInvalid

_FEWEST_LETTERS = 20
_SURE = 0.7
_EXCLUDED = 0.01
"""The probability of the language wanted below which it is out of the question."""
_NO_LANGUAGE = frozenset({"zxx", "und"})


class LanguageCheck:
    """By py3langid: naive Bayes over byte n-grams (Lui and Baldwin 2012, "langid.py")."""

    def __init__(self, language: str) -> None:
        """Raises RecipeInvalid for a code that is not known, ConfigurationError where py3langid is not installed."""
        try:
            from py3langid.langid import MODEL_FILE, LanguageIdentifier
        except ImportError as error:
            raise ConfigurationError(
                "data.language needs py3langid: pip install 'concertino[evaluate]', or leave the key out."
            ) from error
        self._identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        self._language = language
        if language not in self._identifier.labels:
            raise RecipeInvalid(
                f"data.language: {language!r} is no language that can be told; give a code such as "
                f"{', '.join(('en', 'de', 'fr', 'es', 'zh'))} (ISO 639), or leave the key out.",
                param="data.language",
            )

    def foreign(self, text: str) -> str:
        """The code of the other language; empty where the text is in the one wanted, too short, or unclear."""
        text = text[:2000]
        if sum(map(str.isalpha, text)) < _FEWEST_LETTERS:
            return ""
        found, probability = self._identifier.classify(text)
        if found == self._language or found in _NO_LANGUAGE or probability < _SURE:
            return ""
        return str(found) if dict(self._identifier.rank(text))[self._language] < _EXCLUDED else ""
