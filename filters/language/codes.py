"""Language codes: one code for every way a language is written down.

`en`, `eng`, `eng_Latn` and `__label__en` ask for one language. The canonical code is ISO 639-1 where there is one,
else ISO 639-3; a standard variety without a two-letter code of its own stands under the code that corpora use for the
whole (`cmn` is `zh`, `arb` is `ar`). Script and region stay, as BCP 47 writes them (`zh-Hant`, `pt-BR`), but for the script
that a language is written in as a rule (`eng_Latn` is `en`, `hin_Latn` is `hi-Latn`). A code stands for its varieties
too: `zh` covers `zh-Hant`, see `covers`. Varieties that have a
code or that a model tells apart stay apart (`nb` and `nn` beside `no`, `yue`, `arz`, `ckb`). So ask with the
model's words: lid.176 answers `no` for Bokmål, GlotLID `nb`.

Price: a table by hand. It covers ISO 639-1 and all labels of lid.176; a model with more labels passes them as
`also`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from functools import cache

# One language a row: canonical code, name, other codes (ISO 639-3 and 639-2, older ones, standard varieties).
LANGUAGES = """
aa|Afar|aar
ab|Abkhaz|abk
ae|Avestan|ave
af|Afrikaans|afr
ak|Akan|aka twi tw fat
am|Amharic|amh
an|Aragonese|arg
ar|Arabic|ara arb
arz|Egyptian Arabic|
as|Assamese|asm
ast|Asturian|
av|Avar|ava
ay|Aymara|aym ayr
az|Azerbaijani|aze azj
azb|South Azerbaijani|
ba|Bashkir|bak
bar|Bavarian|
bcl|Central Bikol|bik
be|Belarusian|bel
bg|Bulgarian|bul
bho|Bhojpuri|bh bih
bi|Bislama|bis
bm|Bambara|bam
bn|Bengali|ben
bo|Tibetan|bod tib
bpy|Bishnupriya|
br|Breton|bre
bs|Bosnian|bos
bxr|Russia Buryat|bua
ca|Catalan|cat
cbk|Chavacano|
ce|Chechen|che
ceb|Cebuano|
ch|Chamorro|cha
ckb|Central Kurdish|
co|Corsican|cos
cr|Cree|cre
cs|Czech|ces cze
cu|Church Slavic|chu
cv|Chuvash|chv
cy|Welsh|cym wel
da|Danish|dan
de|German|deu ger
diq|Zazaki|zza
dsb|Lower Sorbian|
dty|Dotyali|
dv|Dhivehi|div
dz|Dzongkha|dzo
ee|Ewe|ewe
el|Greek|ell gre
eml|Emilian-Romagnol|egl rgn
en|English|eng
eo|Esperanto|epo
es|Spanish|spa
et|Estonian|est ekk
eu|Basque|eus baq
fa|Persian|fas per pes prs
ff|Fula|ful
fi|Finnish|fin
fj|Fijian|fij
fo|Faroese|fao
fr|French|fra fre
frr|North Frisian|
fur|Friulian|
fy|West Frisian|fry
ga|Irish|gle
gd|Scottish Gaelic|gla
gl|Galician|glg
gn|Guarani|grn gug
gom|Goan Konkani|kok knn
gsw|Swiss German and Alemannic|
gu|Gujarati|guj
gv|Manx|glv
ha|Hausa|hau
haw|Hawaiian|
he|Hebrew|heb iw
hi|Hindi|hin
hif|Fiji Hindi|
ho|Hiri Motu|hmo
hr|Croatian|hrv
hsb|Upper Sorbian|
ht|Haitian Creole|hat
hu|Hungarian|hun
hy|Armenian|hye arm
hz|Herero|her
ia|Interlingua|ina
id|Indonesian|ind in
ie|Interlingue|ile
ig|Igbo|ibo
ii|Sichuan Yi|iii
ik|Inupiaq|ipk
ilo|Ilocano|
io|Ido|ido
is|Icelandic|isl ice
it|Italian|ita
iu|Inuktitut|iku
ja|Japanese|jpn
jbo|Lojban|
jv|Javanese|jav jw
ka|Georgian|kat geo
kab|Kabyle|
kg|Kongo|kon
ki|Kikuyu|kik
kj|Kwanyama|kua
kk|Kazakh|kaz
kl|Greenlandic|kal
km|Khmer|khm
kn|Kannada|kan
ko|Korean|kor
kr|Kanuri|kau
krc|Karachay-Balkar|
ks|Kashmiri|kas
ku|Kurdish (Kurmanji)|kur kmr
kv|Komi|kom kpv
kw|Cornish|cor
ky|Kyrgyz|kir
la|Latin|lat
lb|Luxembourgish|ltz
lez|Lezgian|
lg|Ganda|lug
li|Limburgish|lim
lmo|Lombard|
ln|Lingala|lin
lo|Lao|lao
lrc|Northern Luri|
lt|Lithuanian|lit
lu|Luba-Katanga|lub
lv|Latvian|lav lvs
mai|Maithili|
mg|Malagasy|mlg plt
mh|Marshallese|mah
mhr|Eastern Mari|chm
mi|Maori|mri mao
min|Minangkabau|
mk|Macedonian|mkd mac
ml|Malayalam|mal
mn|Mongolian|mon khk
mr|Marathi|mar
mrj|Western Mari|
ms|Malay|msa may zsm zlm
mt|Maltese|mlt
mul|several languages|
mwl|Mirandese|
my|Burmese|mya bur
myv|Erzya|
mzn|Mazanderani|
na|Nauruan|nau
nah|Nahuatl|
nap|Neapolitan|
nb|Norwegian Bokmål|nob
nd|Northern Ndebele|nde
nds|Low German|
ne|Nepali|nep npi
new|Newar|
ng|Ndonga|ndo
nl|Dutch|nld dut
nn|Norwegian Nynorsk|nno
no|Norwegian|nor
nr|Southern Ndebele|nbl
nv|Navajo|nav
ny|Chichewa|nya
oc|Occitan|oci
oj|Ojibwe|oji
om|Oromo|orm gaz
or|Odia|ori ory
os|Ossetian|oss
pa|Punjabi|pan
pam|Kapampangan|
pfl|Palatine German|
pi|Pali|pli
pl|Polish|pol
pms|Piedmontese|
pnb|Western Punjabi|
ps|Pashto|pus pbt pbu
pt|Portuguese|por
qu|Quechua|que quy quz
rm|Romansh|roh
rn|Kirundi|run
ro|Romanian|ron rum mo mol
ru|Russian|rus
rue|Rusyn|
rw|Kinyarwanda|kin
sa|Sanskrit|san
sah|Yakut|
sc|Sardinian|srd
scn|Sicilian|
sco|Scots|
sd|Sindhi|snd
se|Northern Sami|sme
sg|Sango|sag
sh|Serbo-Croatian|hbs
si|Sinhala|sin
sk|Slovak|slk slo
sl|Slovenian|slv
sm|Samoan|smo
sn|Shona|sna
so|Somali|som
sq|Albanian|sqi alb aln
sr|Serbian|srp
ss|Swati|ssw
st|Southern Sotho|sot
su|Sundanese|sun
sv|Swedish|swe
sw|Swahili|swa swh
ta|Tamil|tam
te|Telugu|tel
tg|Tajik|tgk
th|Thai|tha
ti|Tigrinya|tir
tk|Turkmen|tuk
tl|Tagalog|tgl fil
tn|Tswana|tsn
to|Tongan|ton
tr|Turkish|tur
ts|Tsonga|tso
tt|Tatar|tat
ty|Tahitian|tah
tyv|Tuvan|
ug|Uyghur|uig
uk|Ukrainian|ukr
und|undetermined|
ur|Urdu|urd
uz|Uzbek|uzb uzn
ve|Venda|ven
vec|Venetian|
vep|Veps|
vi|Vietnamese|vie
vls|West Flemish|
vo|Volapük|vol
wa|Walloon|wln
war|Waray|
wo|Wolof|wol
wuu|Wu Chinese|
xal|Kalmyk|
xh|Xhosa|xho
xmf|Mingrelian|
yi|Yiddish|yid ydd ji
yo|Yoruba|yor
yue|Cantonese|
za|Zhuang|zha
zh|Chinese (Mandarin)|zho chi cmn
zu|Zulu|zul
zxx|no language|
"""

# The script that a language is written in as a rule. Languages with several in use (Serbian, Uzbek) are in no row; for
# Chinese it is Hani, which does not say which of the two.
USUAL_SCRIPTS = {
    "Latn": """
        aa af ak an ast ay bar bcl bi bm br bs ca cbk ceb ch co cs cy da de diq dsb ee eml en eo es et
        eu ff fi fj fo fr frr fur fy ga gd gl gn gsw gv haw hif ho hr hsb ht hu hz ia id ie ig ik ilo
        io is it jbo jv kab kg ki kj kl kr kw la lb lg li lmo ln lt lu lv mg mh mi min ms mt mwl na nah
        nap nb nd nds ng nl nn no nr nv ny oc om pam pfl pl pms pt qu rm rn ro rw sc scn sco se sg sk
        sl sm sn so sq ss st sv sw tl tn to tr ts ty ve vec vep vi vls vo wa war wo xh yo zu
    """,
    "Cyrl": "ab av ba be bg bxr ce cv kv krc ky lez mhr mk mrj myv os ru rue sah tt tyv uk xal",
    "Arab": "ar arz azb ckb fa lrc mzn pnb ps ur",
    "Deva": "bho dty gom hi mai mr ne new sa",
    "Beng": "as bn bpy", "Grek": "el", "Hebr": "he yi", "Armn": "hy", "Geor": "ka xmf", "Ethi": "am ti", "Thai": "th",
    "Laoo": "lo", "Khmr": "km", "Mymr": "my", "Taml": "ta", "Telu": "te", "Knda": "kn", "Mlym": "ml", "Gujr": "gu",
    "Orya": "or", "Sinh": "si", "Tibt": "bo dz", "Thaa": "dv", "Jpan": "ja", "Kore": "ko", "Yiii": "ii",
    "Hani": "zh yue wuu",
}  # fmt: skip
SAME_SCRIPT = {"Hang": "Kore", "Hira": "Jpan", "Kana": "Jpan"}  # of models that name one part of it
LATIN = "Latn"  # usual for languages that the table does not have
# `als` is Tosk Albanian in ISO 639-3, but Alemannic in Wikipedia's addresses, so as a label of lid.176.
AMBIGUOUS = {"als": 'Alemannic in lid.176 but Tosk Albanian in ISO 639-3: write "gsw" or "sq"'}
_FORM = re.compile(r"(?P<language>[a-z]{2,3})([-_](?P<script>[a-z]{4}))?([-_](?P<region>[a-z]{2}|[0-9]{3}))?")


def canonical(code: str, also: Collection[str] = ()) -> str:
    """The one code of this language, with script and region where they say more; `also` holds further codes of languages,
    such as a model's.

    Takes BCP-47 (`zh-Hant-TW`), ISO 639-1, -2 and -3, a code with its script (`cmn_Hani`) and a label
    (`__label__en`), in any case. `ValueError` for anything else, with the codes that come close.
    """
    label = code.strip().lower()
    is_label = label.startswith("__label__")
    form = _FORM.fullmatch(label.removeprefix("__label__"))
    if form is None:
        raise ValueError(_unknown(code))
    language = form["language"]
    if language in AMBIGUOUS:
        if not is_label and not form["script"]:
            raise ValueError(f'language code "{code}" is {AMBIGUOUS[language]}')
        return _with_variety("sq" if form["script"] else "gsw", form)
    if language in _canonical_by_alias():
        return _with_variety(_canonical_by_alias()[language], form)
    if language in also:
        return _with_variety(language, form)
    raise ValueError(_unknown(code))


def _with_variety(language: str, form: re.Match[str]) -> str:
    """The code with the script, unless it is the usual one, and with the region."""
    script = (form["script"] or "").title()
    script = SAME_SCRIPT.get(script, script)
    if script == _usual_script(language):
        script = ""
    return "-".join(part for part in (language, script, (form["region"] or "").upper()) if part)


def _usual_script(language: str) -> str:
    return _usual_scripts().get(language, "" if language in _names() else LATIN)


@cache
def _usual_scripts() -> dict[str, str]:
    return {code: script for script, codes in USUAL_SCRIPTS.items() for code in codes.split()}


def covers(wanted: str, code: str) -> bool:
    """A document of this canonical code is of the language that is wanted, and of its script and region if any is."""
    language, *varieties = wanted.split("-")
    own, *its = code.split("-")
    return language == own and set(varieties) <= set(its)


def language_of(code: str) -> str:
    """A canonical code without script and region."""
    return code.partition("-")[0]


def canonical_of_label(label: str) -> str:
    """The code of a classifier's label; a label that names no language of the table stays as it is."""
    try:
        return canonical(f"__label__{label.removeprefix('__label__')}")
    except ValueError:
        form = _FORM.fullmatch(label.lower())
        return _with_variety(form["language"], form) if form and form["script"] else label


def name_of(code: str) -> str:
    """The English name of a canonical code's language, or the code itself where the table has none."""
    return _names().get(language_of(code), code)


@cache
def _names() -> dict[str, str]:
    return dict(row.split("|")[:2] for row in LANGUAGES.split("\n") if row)


@cache
def _canonical_by_alias() -> dict[str, str]:
    rows = [row.split("|") for row in LANGUAGES.split("\n") if row]
    return {alias: code for code, _, others in rows for alias in [code, *others.split()]}


def _unknown(code: str) -> str:
    close = " or ".join(f'"{near}" ({name_of(near)})' for near in _close(code))
    return f'"{code}" is no known language code' + (f"; did you mean {close}?" if close else "")


def _close(code: str) -> list[str]:
    """At most three canonical codes whose name or whose spellings are like this one."""
    wanted = re.split(r"[-_]", code.strip().lower().removeprefix("__label__"))[0]
    by_name = {name.lower(): near for near, name in _names().items()}
    if wanted in by_name:
        return [by_name[wanted]]
    by_word = {word.strip("()"): near for name, near in by_name.items() for word in name.split()}
    spellings = _canonical_by_alias() if len(wanted) <= 3 else {**by_name, **by_word}
    found = difflib.get_close_matches(wanted, spellings, n=6, cutoff=0.6)
    return list(dict.fromkeys(spellings[near] for near in found))[:3]
