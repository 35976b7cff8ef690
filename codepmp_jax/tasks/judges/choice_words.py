"""The words that replies state, affirm and deny options with, in English and Chinese, as regular expressions."""

from __future__ import annotations

import re

_OPEN, _CLOSE = r"[(\[{<\"'`]", r"[)\]}>\"'`]"
# Words that no article stands before, so that an `A` before one is a letter.
_AFTER_LETTER = (
    "because|since|as|and|or|for|given|which|that|here|there|by|from|in|on|with|due|is|was|are|follows|but|not|"
    "rather|if|when|while|where|the|this|it|only|also|alone|instead|to|of|at|based|under|per|so|then|thus|would|can|"
    "could|must|should|has|does|according|he|she|they|we|I|you|all|both|among|after|before|though|although|unless|"
    "therefore|hence|however"
)
# A letter, in brackets or quotes or bare; a small one bare only at the end of what is said.
LETTER = re.compile(
    rf"{_OPEN}+\s*([A-Za-z])\s*[.:]?{_CLOSE}+"
    r"|([B-Z])(?![A-Za-z0-9'-])|([B-Z])(?=['-](?![A-Za-z0-9]))|(A)(?![A-Za-z0-9'-])(?!\s+[a-z])"
    rf"|(A)(?=\s+(?:{_AFTER_LETTER})\b)"
    r"|([a-z])(?=[.):*]|\s*\Z|\s*\n)"
)
ANY_A = re.compile(r"(A)(?![A-Za-z0-9'-])")
CAPITAL = re.compile(r"(?<![A-Za-z0-9'])[(\[{<\"']*([A-Z])(?![A-Za-z0-9_'])[)\]}>\"']*")
# Further letters that are named along with one, and are not the subject of a clause of their own.
OTHERS = re.compile(
    rf"{_CLOSE}*\s*(?:,\s*(?:and|or)?|\band\b|\bor\b|&|/|\+|和|或|与|以及)\s*(?:also\s+|option\s+|choice\s+)?{_OPEN}?([A-Z])"
    r"(?![A-Za-z0-9'])(?!\s*(?:is|are|was|were|does|do|can|could|would|has|have|fails?|contradicts?|goes|lacks?|"
    r"seems?|must|cannot|isn't|only|\w*(?:错|不))\b)"
)
OTHER_BEFORE = re.compile(r"([A-Z])[)\]]?\s*(?:,|and|&|和)\s*(?:option\s+)?[(\[]?\Z")
# A line that begins with a letter: `B. Some ...`, `(B) Some ...`, `B correct`.
LABEL = re.compile(
    r"\s*(?:[-•]\s*)?(?:(?:option|choice)\s+)?[(\[\"']*([A-Z])"
    r"(?:[)\]\"']+[.:,]?|\s*[.:,)]|\s+-(?=\s)|\s+—|\s+(?=(?:in)?correct\b)|\s*\Z)\s*(.*)",
    re.IGNORECASE,
)
# A line that a letter ends: `..., so: (B).`
LETTER_AT_END = re.compile(
    rf"(?:[:;,—]|\b(?:so|thus|hence|therefore|is))\s*{_OPEN}*([A-Z]){_CLOSE}*[.!]?", re.IGNORECASE
)

TAG = re.compile(
    r"<(?:final_?)?(?:answer|choice|option)>(.*?)</(?:final_?)?(?:answer|choice|option)>",
    re.DOTALL | re.IGNORECASE,
)
JSON = re.compile(
    r"[\"'](?:(?:final|correct|selected|chosen|my|the)[_ ]?)?(?:answer|choice|option|label|letter|prediction|答案)"
    r"(?:[_ ](?:letter|option|choice))?[\"']\s*:\s*[\[]?\s*[\"']([^\"']+)[\"']",
    re.IGNORECASE,
)

_FILLER = (
    r"(?:[\s,:;*\n-]|\b(?:that|therefore|thus|then|hence|clearly|indeed|definitely|certainly|most|very|likely|probably|"
    r"obviously|simply|just|only|still|also|actually|really|now|in fact|as follows|letter|option|choice|answer|"
    r"statement|number|the|best|correct|right|one|labell?ed|marked|given|by|going to be|to be|indicated|surely|"
    r"evidently|undoubtedly|in my view|I think|I believe|of course|namely|either)\b){0,30}"
)
_IS = (
    r"(?:\bis\b|'s\b|\bare\b|\bwas\b|\b(?:would|should|must|has to|can|could|will|may|might|ought to)\s+"
    r"(?:(?:only|therefore|thus|then|clearly|indeed|now|probably|most likely|likely|also|still|have to)\s+)*be\b|"
    r"\bseems?(?: to be)?\b|\bremains\b|\bbecomes\b|[:=]|→|->|=>|—|\s-\s|(?<=ns)\.|\s*\n)"
)
_DENYING = r"\b(?:not|never|cannot|wrong|incorrect|false|un\w+)\b|n't\b"
# What a statement of the answer begins with: `the correct answer is therefore`, `Answer (`, `答案是`.
ANSWERS = (
    re.compile(
        r"\b(?<!no )(?<!wrong )(?<!incorrect )"
        r"(?:answers?|ans|solution|conclusion|inference|statement|response|option|choice|selection|pick|verdict)\b"
        rf"(?:(?!{_DENYING})[^.\n:=?!;]){{0,60}}?{_IS}{_FILLER}",
        re.IGNORECASE,
    ),
    re.compile(r"\b(?:answer|ans)\b\s*(?=[(\[]?[A-Z][)\]]?\s*(?:[.,;\n]|\Z))", re.IGNORECASE),
    re.compile(
        r"(?:答案|正确选项|正确的选项|正确的是|正确的为|最佳选项)(?:应该|应当|应|就|只能|当然)?"
        r"(?:是|为|选择|选|選)?\s*:?\s*(?:选项)?\s*"
    ),
)
DENIED = re.compile(r"\s*(?:n't|not|never)\b")
DENIED_BUT = re.compile(r"\s*(?:n't|not|never)\b[^.\n]*?\bbut\s+(?:rather\s+)?")
DENYING = re.compile(_DENYING, re.IGNORECASE)
CALLS_LETTER = re.compile(r"\b(?:option|choice|letter)s?\b(?:\s+is)?[\s:]*\Z", re.IGNORECASE)
MENTIONS = re.compile(r"\b(?:option|choice|statement|answer|letter)s?\s+\Z", re.IGNORECASE)
MAY_BE = re.compile(r"\b(?:would|could|might)\b", re.IGNORECASE)
IF = re.compile(r"\b(?:if|unless|had|were)\b", re.IGNORECASE)

# What a choice is stated with before its letter: `I choose`, `so`, `that leaves`, `选`, `而是`.
CHOOSING = (
    re.compile(
        r"\b(?:I(?:'d|'ll|'m| would| will| am| have to| must)?\s+(?:\w+\s+)?(?:choose|chose|pick|picked|select|selected|say|"
        r"go(?:ing)? with|take|vote for|opt for)|(?:choose|pick|select|go(?:es|ing)? with|opt for|"
        r"leav(?:es|ing)(?: us)?(?: only| with)*|that leaves)|"
        r"(?:so|thus|hence|therefore|consequently|it|this|that|and|then)\s*,?\s*(?:is|must be|has to be|should be|'s)|"
        r"(?:it|that)'s|(?:so|thus|hence|therefore|consequently|conclusion)\b"
        rf"(?=[\s,:]*[(\[]?[A-Z][)\]]?\s*(?:[.!,;]|\n|\Z))){_FILLER}",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?<![不能别首候备])(?:选择|选项|选|選擇|選)\s*:?\s*(?:选项)?\s*(?=[(\"']?[A-Z])|而是\s*(?:选项)?\s*"
    ),
)
WRONG_WORDS = (
    r"wrong|incorrect|false|invalid|out\b|eliminated|excluded|ruled|irrelevant|unsupported|not|n't|never|cannot|no\b|"
    r"too|contradict\w*|fails?|lacks?|goes (?:too|beyond)|unrelated|inconsistent|reject\w*|unlikely|weak\w*|"
    r"the opposite|mistaken|untrue|discard\w*|dismiss\w*|less\b|worse\b|implausible|(?:un|in)sufficient|unnecessary|"
    r"only (?:partly|partially)|misses|misreads|overstates"
)
RIGHT_WORDS = r"correct|right|true\b|yes\b"
# After a letter.
IS_WRONG = re.compile(
    rf"{_CLOSE}*\s*(?:[:,.)-]|—)?\s*[(]?\s*(?:[^.;\n]{{0,40}}?\b(?:is|are|was|were|does|do|can|could|would|will|must|"
    r"should|has|have|seems?|looks?|may|might)\s*)?(?:be\s+)?(?:\w+ly\s+|also\s+)?"
    rf"(?:{WRONG_WORDS})|\s*(?:选?项)?\s*(?:是|为)?\s*(?:不|错|无|未|排除|与.{{0,12}}(?:不符|无关))",
    re.IGNORECASE,
)
IS_RIGHT = re.compile(
    rf"{_CLOSE}*\s*(?:[:,-]|—)?\s*[(]?\s*(?:(?:is|are|was|must be|seems(?: to be)?|would be|has to be|should be|remains|,)\s+)?"
    r"(?:(?:the|therefore|thus|clearly|indeed|also|only|definitely|certainly|obviously|our|my|most|likely|probably|"
    r"logically|a|one|option|choice|that is|actually|really|hence|then|best|necessarily|both)\s+)*"
    rf"(?:{RIGHT_WORDS}|best|only (?:option|choice|one|answer|statement)|strongest|closest|the answer|answer|follows|fits|"
    r"holds|explains|matches|works|valid|supported|strengthens|weakens|my (?:final )?answer|must be true|it is[.!]?\s*\Z|it[.!]|it\Z|"
    r"most (?:accurate|likely|strongly|supported|plausible|appropriate))"
    r"|\s*(?:选?项)?\s*(?:是|为)?(?:正确|对(?!应|于|比)|符合|最合适|最恰当|成立|可(?:以)?(?:被)?推出|能(?:够)?推出|必然)",
    re.IGNORECASE,
)
IS_RIGHT_IN_CHINESE = re.compile(r"\s*(?:选?项)?\s*(?:是|为)?(?:正确|对|符合|成立)")
# Before a letter.
REFUSED = re.compile(
    r"(?:\bnot|n't|\bnever|\bneither|\bnor|\bcannot|\bwrong|\bincorrect|\beliminat\w+|\brul\w+ out|\bexclud\w+|"
    r"\breject\w*|\bdiscard\w*|\bdismiss\w*|\binstead of|\brather than|\bthan|\bunlike|\bexcept)"
    r"(?:\s+(?:be|is|are|for|that|choices?|options?|answers?|out|the|of|to|say|pick|choose|either|simply|just))*[\s:,(\[\"']*\Z"
    r"|(?:不是|不选|不能选|并非|而非|而不是|排除)\s*(?:选项)?\s*[(\"']?\Z",
    re.IGNORECASE,
)

_MARK_UP = (
    (re.compile(r"\\(?:left|right|quad|qquad|displaystyle|bf|rm)(?![A-Za-z])|\\[()\[\],;! ]"), " "),
    (
        re.compile(
            r"\*+|_{2,}|(?<![A-Za-z])_(?=\w+_(?![A-Za-z]))|(?<=[\w.])_(?![A-Za-z_])|[`$#]|^\s*>\s?",
            re.MULTILINE,
        ),
        "",
    ),
    (re.compile(r"[✅✔✓☑]"), " correct "),
    (re.compile(r"[❌✗✘✖]"), " incorrect "),
)
_FONT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathsf|operatorname|underline|emph)\s*\{([^{}]*)\}"
)


def unmarked(text: str) -> str:
    """A text without the marks of Markdown and the fonts of LaTeX; ticks and crosses become words."""
    for _ in range(3):
        text, count = _FONT.subn(r"\1", text)
        if not count:
            break
    for pattern, replacement in _MARK_UP:
        text = pattern.sub(replacement, text)
    return text
