"""What machines leave in a text: control tokens of chat formats, the names and dates of other models, a cut-off end.

A model trained on "As an AI language model developed by OpenAI" says it of itself; one trained on half sentences stops
in the middle. The patterns ask for more than the words, since people also write about models, and end without a period.
"""

import re

from helptune.data.conversation import Conversation

_GEMMA = re.compile(
    r"<(?:start_of_turn|end_of_turn|bos|eos|pad|unused\d+|start_of_image|end_of_image|start_of_audio|end_of_audio)>"
)
_FOREIGN = re.compile(
    r"<\|[A-Za-z_][\w ]*\|>"  # ChatML, Llama 3, Phi, Qwen, GPT-2: <|im_start|>, <|endoftext|>
    r"|<｜[^｜\n]+｜>"  # DeepSeek
    r"|\[/?INST\]|<</?SYS>>"  # Llama 2, Mistral
    r"|<extra_id_\d+>|<unk>"  # T5, SentencePiece
    r"|\A<s>(?!.*</s>)|(?<=\S)</s>\s*\Z",  # at an end; <s>...</s> is struck-out HTML
    re.DOTALL,
)
_ALPACA = re.compile(r"^### (?:Instruction|Response|Human|Assistant|User|Input):", re.MULTILINE)
_SPEAKER = re.compile(r"(?:\AAssistant|\n[^\S\n]*\n(?:Human|Assistant)): ?")
_OTHER_SPEAKER = re.compile(r"^(?!(?:Human|Assistant|System):)[A-Z][\w .]{0,30}: \S", re.MULTILINE)
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def control_token(conversation: Conversation) -> str | None:
    """Control tokens of Gemma anywhere; those of other models, and speaker labels of transcripts, outside code."""
    for i, message in enumerate(conversation.messages):
        text = message.content
        found = _GEMMA.search(text) if "<" in text else None
        if not found and re.search(r"[<\[#]|Human:|Assistant:", text):
            prose = _CODE.sub(" ", text)
            found = _foreign(prose) or _ALPACA.search(prose) or _transcript(prose)
        if found:
            return f"turn {i} contains {found.group().strip()!r}"
    return None


def _foreign(text: str) -> re.Match | None:
    found = _FOREIGN.search(text)
    return None if found and found.group().startswith("</s>") and "<s>" in text else found


def _transcript(text: str) -> re.Match | None:
    """A turn of a transcript that was not split; a scene that Human plays with someone else is a story."""
    found = _SPEAKER.search(text)
    return None if found and _OTHER_SPEAKER.search(text) else found


_MAKERS = (
    r"(?:OpenAI|Anthropic|Google(?: DeepMind)?|DeepMind|Meta(?: AI)?|Microsoft|Mistral(?: AI)?|Cohere|LAION|Alibaba|xAI"
    r"|Large Model Systems|LMSYS)"
)
_MODELS = (
    r"(?:ChatGPT|GPT-?[345]\w*|Claude|Bard|Gemini|Gemma|Open ?Assistant|L[Ll]a[Mm][Aa]|Alpaca|Vicuna|Copilot|Qwen)"
)
_KIND = (
    r"(?:AI(?: language)?(?: model| assistant| chatbot| program)?|artificial intelligence(?: language)?(?: model)?"
    r"|(?:large )?language model|chatbot|virtual assistant|computer program)"
)
_MADE = r"(?:created|developed|trained|made|built|designed)"
_I_AM = r"\bI(?:'m|’m| am)"
_IDENTITY = re.compile(
    rf"\b(?<!such )(?<!same )(?<!act )[Aa]s (?:just )?an? {_KIND}(?=[,.;:]| (?:I\b|{_MADE}|by\b))"
    rf"|{_I_AM}(?: only| just| simply| merely)? an? {_KIND}"
    rf"(?=[,.;:!]|\s*\Z| (?:and|so|but|that|with|without|called|named|I\b|{_MADE}|by\b))"
    rf"|(?:{_I_AM}|\bI was)\s(?:\w+\s){{0,4}}{_MADE} by (?:researchers (?:from|at) )?{_MAKERS}\b"
    rf"|(?:{_I_AM}|\b[Mm]y name is) {_MODELS}(?=,? (?:an?|the|your) [^.\n]{{0,30}}(?:AI|model|assistant|chatbot))"
    rf"|{_I_AM} (?:ChatGPT|Open ?Assistant|GPT-?[345]\w*)\b"
)
_YEAR = r"(?:\w+ )?(?:19|20)\d\d"
_CUTOFF = re.compile(
    r"\bmy (?:knowledge|training)(?: data)?(?: \w+)? cut-?\s?off\b"
    r"|\bmy (?:knowledge|training(?: data)?|information) (?:only )?(?:"
    r"is (?:current|limited|up to date|based)\b[^.\n]{0,30}\b(?:19|20)\d\d"
    r"|(?:ends?|ended|stops?|(?:goes|extends) (?:only )?(?:up )?to|cuts? off|was cut off)\b)"
    r"|\bas of (?:my|the) (?:last|latest|most recent) (?:knowledge |training )?(?:update|cut-?off|training)"
    r"|\bmy (?:last|latest|most recent) (?:knowledge |training )(?:update|cut-?off)"
    rf"|\bknowledge cut-?\s?off (?:date )?(?:is|of|in|was) (?:in )?{_YEAR}"
    rf"|\bI (?:was|have been) (?:last )?(?:trained|updated) (?:on data )?(?:up to|until|through|from before) {_YEAR}",
    re.IGNORECASE,
)


def self_identity(conversation: Conversation) -> str | None:
    """An answer in which a model says what it is or who made it."""
    return _answers_with(conversation, _IDENTITY)


def cutoff_date(conversation: Conversation) -> str | None:
    """An answer in which a model says when its knowledge ends."""
    return _answers_with(conversation, _CUTOFF)


def _answers_with(conversation: Conversation, pattern: re.Pattern) -> str | None:
    for i, message in enumerate(conversation.messages):
        if message.role == "assistant" and (found := pattern.search(message.content)):
            return f"turn {i} says {found.group()!r}"
    return None


_HANGING = re.compile(
    r"(?:,|[^\W\d]-|[(\[{]"
    r"|(?:^|\s)(?:the|an|and|or|because|of|from|into|whose|my|your|our|their|than|if|although|whereas|every"
    r"|such as|e\.g\.|i\.e\.|(?:is|was|as|of|with|in|for|by|into|like|has|have|and|be) a))\Z"
)
_PROSE_END = re.compile(r"[.!?…。！？:;)\]}\"'”’»*_`>|~]\Z|[^\w\s]\Z")
_SENTENCE_END = re.compile(r"[.!?][\"”')]*\s")
_LISTED = re.compile(r"\s*(?:[-*+•|>#]|\d+[.)]|[A-Za-z][.)]\s)")


def truncated(conversation: Conversation, *, long_words: int = 80, fragment_words: int = 4) -> str | None:
    """The last answer stops before its end: inside a code fence, or in the middle of a sentence.

    A last word that cannot be last ("the", "because") or a comma shows it in any answer. A missing period alone shows
    it only in an answer of `long_words` and more whose last line, which is no list item, goes on for `fragment_words`
    after a sentence.
    """
    text = conversation.reference.rstrip()
    if len(re.findall(r"^[ \t]*```", text, re.MULTILINE)) % 2:
        return "a code fence is not closed"
    last = text.rsplit("\n", 1)[-1]
    if len(text.split()) >= 5 and _HANGING.search(text) and not _closing(last):
        return f"ends in the middle of a sentence: {text[-40:]!r}"
    if len(text.split()) < long_words or _PROSE_END.search(text) or _LISTED.match(last):
        return None
    ends = list(_SENTENCE_END.finditer(last))
    fragment = last[ends[-1].end() :] if ends else ""
    if len(fragment.split()) >= fragment_words and "://" not in fragment:
        return f"ends in the middle of a sentence: {text[-40:]!r}"
    return None


def _closing(line: str) -> bool:
    """ "Best wishes," is how a letter may end."""
    return line.endswith(",") and len(line.split()) <= 4
