"""Texts that tokenizers disagree about, in many scripts: what a fast tokenizer has to pass before it is used."""

# ruff: noqa: RUF001  look-alikes of other scripts are what this is about

from __future__ import annotations

#: Where Unicode writes the same in several ways, or the rules of BERT, KerasHub and tensorflow-text are known to part.
PROBE_TEXTS: tuple[str | bytes, ...] = (
    "",
    " ",
    " \t\r\n\v\f ",
    "The quick brown Fox, jumped over 13 lazy dogs; didn't it?",
    "UPPER lower MiXeD camelCase snake_case kebab-case e.g. i.e. U.S.A. 3.14 1,000,000 50% $5 #tag @user a/b\\c",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ !!! ... --- ((a)) ##ing ## # a##b",
    "[CLS] [SEP] [MASK] [PAD] [UNK] [mask] <cls> <unk> a[MASK]b [unused1]",
    # Latin: composed and decomposed accents, ligatures, letters without decomposition.
    "café naïve Ünïcödé ÅNGSTRÖM crème brûlée São Paulo Ærøskøbing œuvre Łódź đạo Việt Nam ñ ç",
    "cafe\u0301 nai\u0308ve A\u030angstro\u0308m o\u0323\u0302 o\u0302\u0323 e\u0301\u0301\u0301 \u0301 \u0301a",
    "Straße STRASSE GROẞ ﬁne ﬂow oﬀer ĳ Ǆ ǅ ǆ ŀl ſ K Å Ω",
    "İstanbul ISPARTA ısı i̇ I\u0307 DİYARBAKIR",
    "a\u0338b =\u0338 <\u0338 \u0344 \u0345 \u1fb3 \u037a q\u0323\u0307 q\u0307\u0323",
    # Greek, Cyrillic, Armenian, Georgian.
    "ΟΔΥΣΣΕΥΣ Οδυσσεύς σς ΣΑΣ. ᾳ ᾼ ΐ ῒ Ἀθῆναι",
    "Привет МИР ёлка ЁЛКА йод и\u0306 Київ їжак Љубав Ѐ \u0483",
    "Հայաստան և ԵՒ თბილისი ᲗᲑᲘᲚᲘᲡᲘ",
    # Han, kana, hangul.
    "东京的电影很好 漢字 豈更 丽 〆 々 〇 㐀 ㈱ ㊙ ① ⑴ ㍻ ㌔",
    "これは映画です カタカナ ｶﾀｶﾅ ﾊﾞﾊﾟ が か\u3099 ゛ ー・「」。、",
    "한국어 영화 ㅋㅋㅋ ㄱㅏ ᄒᆞᆫ \u1100\u1161\u11a8 가\u11a8 ﾡ ㈀ \u3164 \u115f\u1160",
    "𠀀𠀁 𪜀 𫝀 𫠠 \U0002f800 \U00030000",
    # South and South-East Asia: signs that stand alone, that combine, and that compose.
    "भारत हिन्दी क़ क\u093c ज़ नमस्ते ক\u09c7\u09be কো ড় தமிழ் \u0b92\u0bd7 ஔ କୋ ക\u0d46\u0d3e ශ්\u200dරී",
    "ภาษาไทย น้ำ กำ ลำ ລາວ ນໍ້າ မြန်မာ ខ្មែរ \u1b05\u1b35 བོད་ \u0f43 \u0f42\u0fb7",
    # Right to left, with marks and joiners.
    "فيلم رائع جدًّا مُحَمَّد ﷺ ﷲ ﻻ آ ا\u0653 ۀ می\u200cخواهم \u0600 ٠١٢ ۰۱۲ ،؛؟",
    "שלום שָׁלוֹם \ufb2a \ufb1d יִ ש\u05c1\u05b8 ־ ײַ",
    # Pictographs: joined, with skin tones, variation selectors, flags, tags.
    "🙂👍🏽 👩‍👩‍👧 ❤️ ☺︎ 🇩🇪🇫🇷 🏴\U000e0067\U000e0062\U000e007f 1️⃣ ©®™ 🧑🏿‍🚀 x🙂y",
    # Controls, invisible and odd spaces, odd punctuation, private and unassigned characters.
    "a\x01b\x1fc\x7fd\x80e\x85f\x9fg h\xadi\u200bj\u200ck\u200dl\u2060m\ufeffn\u180eo\u061cp\u202eq\u2066r",
    "a\xa0b\u1680c\u2000d\u2003e\u2009f\u2028g\u2029h\u202fi\u205fj\u3000k \xa0 \u3000",
    "…‥‼⁉ “quoted” ‘it’s’ „so“ «la» ‹x› – — ― ‐ ‑ • · ¡hola! ¿qué? § ¶ † ‰ ′ ″ ‴ ‾ _ ﹏ ﹍ ＿ （全角）！＂＃＄％～",
    "¨ ¯ ´ ¸ ˘ ˙ ˚ ˛ ˜ ˝ ^ ` ~ ª º ² ³ ¼ ½ ⁄ ₂ ⁿ ∑ ≠ ≮ ∬ № ℃ ℓ ™ Ⅷ ⅷ €£¥₿ ¤",
    "\ue000\uf8ff \U000f0000 \u0378 \ufdd0 \ufffe \U0001ffff \U0010ffff \ufffd \ufffc a\ufffdb",
    "𝐀𝕬𝖆 𝟘𝟙 𐐀𐐨 𐎀 𒀀 𓀀 \U0001d15e \U0001d165 \U0001e900 \U00011099\U000110ba",
    # Words near and past the limit of 100 bytes, alone and between others.
    *(unit * count for unit in ("a", "é", "中", "क", "🙂") for count in (24, 25, 26, 33, 34, 49, 50, 51, 99, 100, 101)),
    *(f"so {'ab' * 50}{tail} x {'the' * 40}, y.{'z' * 101}.w" for tail in ("", "c", ".", "é", "中")),
    "the film was long " * 60,
    # Bytes that are no UTF-8: bare continuation, cut sequences, overlong forms, surrogates, beyond Unicode.
    b"\x80",
    b"caf\xe9 bar",
    b"abc\xe4\xb8 def",
    b"x\xf0\x9f\x99",
    b"\xc0\xaf \xe0\x80\xaf a\xff\xfeb",
    b"\xed\xa0\xbd\xed\xb8\x80 \xf4\x90\x80\x80 \xf8\x88\x80\x80\x80",
)
