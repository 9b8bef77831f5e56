"""How judges put a verdict into words, in the languages they are asked in: the patterns the reader looks for.

All patterns are matched against lowercased text, anchored at a label or within a bounded stretch before it,
so that none of them can run away on a long reply. Adverbs between verb and comparative are listed one by one:
a word that is not listed, `not` above all, breaks the match, and a negated claim is therefore no claim.
"""

from __future__ import annotations

import re


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


NOUNS = word_set(
    """response responses answer answers output outputs assistant option completion candidate model reply
    choice text summary system passage solution story essay chatbot version translation agent bot player
    conversation dialogue generation result item letter number label document article poem code program
    antwort ausgabe modell assistent text lösung variante réponse sortie modèle assistante texte respuesta
    salida modelo asistente texto opción resposta saída opção risposta modello assistente testo opzione ответ
    ответа вариант модель ассистент текст решение ассистента"""
)
NOUNS_UNSPACED = (
    "回答",
    "答案",
    "回复",
    "输出",
    "助手",
    "选项",
    "模型",
    "回應",
    "答え",
    "応答",
    "出力",
    "選択肢",
    "アシスタント",
    "モデル",
    "답변",
    "응답",
    "모델",
    "어시스턴트",
    "选择",
    "方案",
)
_NOUN = (
    r"(?:response|answer|output|assistant|option|completion|candidate|model|reply|choice|text|summary|one|"
    r"of\s+the\s+two|solution|system|chatbot|version|translation|fit|match|performer|alternative)s?"
)

_ADVERB = (
    r"(?:the|a|an|also|clearly|slightly|much|far|by\s+far|overall|generally|definitely|significantly|considerably|"
    r"marginally|still|somewhat|actually|therefore|thus|likely|objectively|ultimately|arguably|certainly|indeed|"
    r"even|probably|overwhelmingly|substantially|noticeably|obviously|undoubtedly|a\s+bit|a\s+little|in\s+fact|"
    r"more|only|just|hence|consequently|easily|vastly|decidedly|in\s+my\s+opinion|my|considered|deemed|judged|to|be|"
    r"superior\s+and|relatively|evidently|simply|clear|our|final)"
)
_BE = (
    r"(?:is|was|are|seems|appears|would\s+be|will\s+be|should\s+be|must\s+be|can\s+be|remains|looks|feels|"
    r"turns\s+out|emerges\s+as|stands\s+out\s+as|comes\s+across\s+as|ranks\s+as|has\s+been|proves)"
)
_BETTER = (
    r"(?:better|best|superior|preferable|preferred|favou?red|stronger|strongest|winner|victor|winning\s+\w+|"
    r"(?:right|correct|top)\s+(?:choice|pick|selection|option)|chosen|selected|choice|pick|selection|ahead)(?![\w-])"
)
_DOES_BETTER = (
    r"(?:outperforms|surpasses|beats|edges\s+out|outshines|excels\s+over|wins|prevails|triumphs|"
    r"(?:comes|came)\s+out\s+(?:ahead|on\s+top)|(?:gets|has|earns|receives|takes)\s+(?:my|the)\s+(?:vote|win|edge|"
    r"nod|preference)|should\s+win)(?!\w)"
)
_LEANS = (
    r"(?:(?:more\s+)?(?:better|more\s+(?:closely|accurately|precisely|directly|effectively|honestly|fully))\s+"
    r"[a-z]+s(?!\w)|(?:does|did|do)\s+a\s+(?:much\s+|slightly\s+|far\s+)?better\s+job|"
    r"(?:performs?|performed|does|did|works?|fits?|reads?|responds?|serves?)\s+(?:\w+ly\s+|much\s+|far\s+)?better(?!\w)|"
    r"has\s+(?:the|an|a\s+slight)\s+(?:edge|advantage)|stands\s+out(?!\s+as)|"
    r"(?:is|was|seems|appears|would\s+be)\s+(?:(?:also|slightly|much|far|generally|clearly|overall|a\s+bit|"
    r"considerably|significantly|somewhat|still|actually|the)\s+){0,3}(?:more|most)\s+[a-z]+)"
)
_WORSE = (
    r"(?:is|was|seems|appears)\s+(?:(?:clearly|slightly|much|far|overall|significantly|considerably|the|a|also|"
    r"somewhat|still|generally)\s+){0,3}(?:worse|worst|inferior|weaker|weakest|less\s+[a-z]+|not\s+(?:nearly\s+)?as\s+"
    r"(?:good|strong|helpful|accurate)|loser)(?!\w)|loses(?!\w)|falls\s+short\s+of|"
    r"不如|不及|逊于|没有[^，。,.\n]{1,16}?好"
)
_GOOD_ABROAD = (
    r"(?:besser|meilleure?|mejor|melhor|migliore)(?!\w)|ist\s+(?:(?:eindeutig|klar|deutlich|etwas|insgesamt|die|der|das|viel|leicht|daher|somit|am)\s+){0,3}"
    r"(?:besser\w*|besten?|überlegen|vorzuziehen|sieger(?:in)?|gewinner(?:in)?)(?!\w)|gewinnt(?!\w)|"
    r"est\s+(?:(?:clairement|nettement|légèrement|globalement|bien|donc|la|le|plus)\s+){0,3}"
    r"(?:meilleure?|supérieure?|préférable|gagnante?)(?!\w)|l['’]emporte(?!\w)|gagne(?!\w)|"
    r"es\s+(?:(?:claramente|ligeramente|mucho|la|el|algo|por\s+tanto|bastante)\s+){0,3}"
    r"(?:mejor|superior|preferible|ganadora?)(?!\w)|gana(?!\w)|"
    r"[éè]\s+(?:(?:claramente|a|o|la|il|ligeiramente|muito|chiaramente|nettamente)\s+){0,3}"
    r"(?:melhor|superior|preferível|migliore|superiore|preferibile|vencedora?|vincitore|vincitrice)(?!\w)|vence(?!\w)|"
    r"vince(?!\w)|(?:[—–-]\s*)?(?:явно|немного|значительно|гораздо|намного|в\s+целом|однозначно)?\s*"
    r"(?:лучше|предпочтительнее|лучший|побеждает|выигрывает|превосходит)(?!\w)|"
    r"(?:的)?(?:回答|答案|表现|质量)?(?:是|要|明显|显然|总体|整体|稍微|略|相对|确实)*(?:更好|较好|更优|更佳|更胜一筹|胜出|"
    r"最好|最佳|优于|获胜|好于|比较好|较优|较佳)|比[^，。,.\n]{1,16}?(?:更好|更优|更佳|更强|好|强)|(?:の(?:ほう|方|回答))?(?:が|は)(?:より|明らかに|やや|全体的に|最も)*"
    r"(?:優れ|良い|よい|いい|良く|適切|勝|勝利|好ましい)|を(?:選び|選択|選ぶ|選好)|"
    r"(?:의\s*답변)?(?:이|가|은|는)?\s*더\s*(?:좋|낫|나은|우수|뛰어)|(?:을|를)\s*선택(?:합니다|하겠습니다|한다)"
)

AFTER = re.compile(
    r"(?:['’]s?(?=\s))?(?:\s+(?:response|answer|output|reply|solution|text|completion)(?=\s))?"
    r"(?:\s*,\s*(?:which|with|being|unlike|compared|on\s+the\s+other\s+hand|however|by\s+contrast|in\s+contrast|overall|therefore)"
    r"(?:\s[^,.\n]{0,80})?,)?\s*"
    rf"(?:(?P<good>{_BE}\s+(?:{_ADVERB}\s+){{0,5}}{_BETTER}|{_DOES_BETTER}|{_GOOD_ABROAD})|"
    rf"(?P<bad>{_WORSE})|(?P<lean>{_LEANS}))"
)
"""What is said of a label that is the subject: it is better, it is worse, it has more of something good."""

QUALIFIED = re.compile(
    rf"\s+{_NOUN}(?=\s)(?:\s+(?:if|when)(?!\w))|\s*(?:{_NOUN}\s+)?(?:at|in\s+terms|in\s+(?:its|that|this|some|certain)|"
    r"regarding|with\s+re|when\s+it\s+comes|on\s+(?:the|this|that)\s+(?:aspect|point|criteri)|structured|written|"
    r"organi[sz]ed|formatted|suited|aligned|if|when|only)(?!\w)"
)
"""After `is better`: what narrows the claim to one aspect or one condition."""

_KEY = (
    r"(?:verdict|winner|decision|preference|preferred(?:\s+\w+)?|judge?ment|conclusion|selection|pick|vote|"
    r"(?:final|my|correct|best|better|the|overall|your|chosen|selected)?\s*(?:answer|choice|response|output|result|"
    r"rating|evaluation|assessment|label|option)|chosen|selected|better|best|superior|final|overall|stronger)"
)
_KEY_ABROAD = (
    r"(?:antwort|urteil|gewinner|sieger|entscheidung|wahl|fazit|ergebnis|besser|bessere\s+antwort|réponse|gagnante?|"
    r"choix|décision|préférence|conclusion|meilleure(?:\s+réponse)?|respuesta|veredicto|ganadora?|elección|decisión|"
    r"mejor(?:\s+respuesta)?|conclusión|resposta|vencedora?|escolha|decisão|melhor(?:\s+resposta)?|risposta|verdetto|"
    r"vincitore|scelta|decisione|migliore|ответ|вердикт|победитель|выбор|решение|лучший(?:\s+ответ)?|вывод|итог|"
    r"答案|结论|判断|选择|裁决|优胜者|胜者|评判|判决|结果|决定|最终|更好的(?:回答|答案|一个)?|回答|答え|結論|判定|勝者|選択|"
    r"最終回答|답|답변|정답|결론|선택|판정|승자)"
)
_BETTER_NOUN = (
    rf"(?:better|best|superior|preferable|preferred|stronger|winning|bessere|beste|meilleure|mejor|melhor|migliore)"
    rf"\s+(?:{_NOUN}|antwort|réponse|respuesta|resposta|risposta)(?:\s+[\w'’-]+){{0,7}}"
)
DECLARED = re.compile(
    rf"(?:(?<!\w)(?:{_KEY}|{_BETTER_NOUN}|{_KEY_ABROAD}|it(?=\s+(?:is|has\s+to\s+be|must\s+be))|it['’]s)|"
    rf"(?<=[终的为案论]){_KEY_ABROAD})"
    r"[\"'’”*_`)\]】』」]*\s*(?:(?:would|should|must|will)\s+)?"
    r"(?:is|was|are|be|goes\s+to|has\s+to\s+be|remains|ist|lautet|est|es|é|è|это|是|为|は|は、|은|는)?\s*"
    r"(?:clearly|therefore|thus|definitely|the|that|der|die|das|la|le|el|o|a|il)?\s*"
    r"(?:[:：=>→|—–-]|is\s*:)*\s*[\"'“‘*_`(\[{【『「]*\s*$"
)
"""Just before a label: words that declare it the verdict. `$` is the label's own start (searched with
endpos)."""

DECLARING_END = word_set(
    """is was are be it's it’s to remains ist lautet est es é è это the clearly definitely verdict winner
    decision preferred preference choice pick conclusion der die das la le el o a il вердикт победитель"""
)
"""Last words before a label that make the search for DECLARED worth its time; punctuation does too."""

CHOOSING = word_set(
    """prefer prefers preferred choose chooses chose choosing chosen select selects selected selecting
    pick picks picked favor favors favour favours recommend recommends declare declares output wähle
    bevorzuge choisis préfère elijo prefiero escolho prefiro scelgo preferisco выбираю предпочитаю"""
)
CHOOSING_PHRASES = (
    "go with", "going with", "went with", "vote for", "votes for", "voting for", "opt for", "opting for",
    "side with", "lean towards", "lean toward", "leaning towards", "leaning toward", "in favor of",
    "in favour of", "settle on", "decided on", "give it to", "vote is for", "vote goes to", "win goes to",
    "preference is for", "preference for", "award it to", "me decanto por", "opte pour",
    "entscheide mich für", "喜欢", "选", "选择", "偏好", "推荐", "倾向于",
)  # fmt: skip
ARTICLES = frozenset(("the", "die", "der", "das", "la", "le", "el", "o", "a", "il"))
UNCHOOSING = re.compile(
    r"(?:n['’]t|(?<!\w)not|cannot|never|neither|nor|hardly|unable\s+to|refuse\s+to|nicht|pas|no|не|不|没)\s*"
    r"(?:\w+\s+){0,2}$"
)
"""Before a verb of choosing: it was not chosen."""

BESIDE = word_set(
    """than over against unlike versus vs vs. besides neither not nor de que als gegenüber чем 比 compared
    beyond either both instead"""
)
BESIDE_PHRASES = ("compared to", "compared with", "opposed to", "relative to", "contrast to", "instead of")
BESIDE_UNSPACED = re.compile(rf"(?:比|不如|没有|优于|不及|より)(?:{'|'.join(NOUNS_UNSPACED)})?$")
"""A label right after one of these is what another is measured by, not what is spoken of."""

CONCLUDES = re.compile(
    r"(?<!\w)(?:therefore|thus|hence|overall|conclu\w+|in\s+summary|to\s+sum\s+up|in\s+sum|ultimately|finally|"
    r"consequently|accordingly|so|final|based\s+on|considering|given|all\s+in\s+all|taking|determined|decided|"
    r"i\s+(?:believe|think|find|would\s+say|say|feel|judge|consider|must\s+say)|my|in\s+my\s+opinion|as\s+a\s+result|"
    r"for\s+(?:these|this|that)\s+reasons?|insgesamt|daher|fazit|somit|donc|globalement|en\s+conclusion|por\s+lo\s+tanto|"
    r"en\s+general|portanto|quindi|поэтому|итак|таким\s+образом|в\s+целом)(?!\w)|因此|所以|综上|总的来说|总体|最终|"
    r"したがって|よって|総合|따라서|결론"
)
CONDITIONAL = re.compile(
    r"(?<!\w)(?:if|unless|suppose|assuming|wenn|falls|если)(?!\w)|如果|もし|만약|"
    r"(?:(?<!\w)(?:whether|which\s+(?:is|one|output|response|answer|of)|whichever|ob)(?!\w)|是否)[^,，:：]*$"
)
CONCESSION = re.compile(
    r"\W*(?:(?:but|and|however|so|yet|overall|therefore|thus)\W+)?"
    r"(?:although|though|while|even\s+though|even\s+if|whereas|despite|obwohl|bien\s+que|aunque|embora|sebbene|хотя|虽然|尽管)"
    r"(?!\w)[^,，]*$"
)
"""At the head of a sentence and still open where the label stands: what is granted before the verdict."""

DOUBTED = re.compile(
    r"(?:n['’]t|(?<!\w)not|cannot|never)\s+(?:\w+\s+){0,2}(?:think|believe|say|feel|agree|claim|conclude|mean|clear|sure|"
    r"evident|convinced|because|that|true|the\s+case)\s*(?:that|if|whether)?\s*(?:the\s*)?$|"
    r"(?:might|some(?:one)?\s+(?:may|might|could))\s+(?:say|think|argue|believe|claim|prefer)\s*(?:that\s*)?(?:the\s*)?$|"
    r"(?:argues|claims|thinks|believes|says|states)\s+(?:that\s+)?(?:the\s+)?$"
)
DOUBTING = word_set(
    """think believe say feel agree claim conclude mean clear sure evident convinced because that true case if
    whether the argue prefer argues claims thinks believes says states"""
)
"""Last words before a label that make the search for DOUBTED worth its time."""

ASPECT = re.compile(
    r"\W*(?:\d+[.)]\s*)?(?:in\s+terms\s+of|regarding|as\s+for|when\s+it\s+comes|with\s+(?:regard|respect)|concerning|"
    r"for\s+(?:the\s+)?\w+,|on\s+the\s+(?:aspect|dimension|criterion|other\s+side)|from\s+(?:the|a)\s)"
)
"""A sentence that opens so speaks of one aspect, not of the whole."""

HEADED = re.compile(r"\W*(?:\d+[.)]\s*)?\**([^\W\d_][\w /&-]{1,30}?)\**\s*[:：]\**\s*$")
"""`Clarity: ` before a label."""

IF_NEXT = re.compile(
    r"[\"'”’`)\]*]*\s*,?\s*(?:if|for\s+(?:a\s+)?(?:tie|draw)|when|whenever|in\s+case|"
    r"for\s+the\s+case|wenn|falls|si\s|если|如果|の場合|인\s*경우)"
)
ONLY_IF = re.compile(rf"\s*(?:{_NOUN}\s+)?(?:if|unless|only\s+if|for\s+those\s+who)(?!\w)")
"""After `is better`: on one condition, which nobody has said is met."""

FINDS = re.compile(
    r"(?<!\w)(?:find|found|consider|considered|deem|judge|judged|rate|rank|ranked)\s+(?:that\s+)?(?:the\s+)?$"
)
FOUND_BETTER = re.compile(
    r"\s+(?:to\s+be\s+)?(?:(?:slightly|much|clearly|the|a\s+bit|far)\s+){0,2}(?:better|best|superior|preferable|stronger)(?!\w)"
)
"""`I find B better`."""

COMMA = re.compile(r"\s*[,;]\s*")
LINK = re.compile(
    r"\s*(?:,?\s*(?:or|nor|and\s*/\s*or|oder|ou|или)\s|(?:and|und|et|y|e|и|vs\.?|versus|with|to)\s|/|&|\||和|与|或|跟|と|와|과)"
    r"\s*(?:the\s+)?[\"'“‘`(\[*]*"
)
"""Between two labels that are only listed: `A or B`, `[[A]], or [[B]]`, `A 和 B`."""

TIE = re.compile(
    r"(?<!\w)(?:(?:a|an|is|it|as)\s+(?:exact\s+|clear\s+|perfect\s+|virtual\s+|complete\s+)?(?:tie|draw)(?![\w-])|"
    r"(?:are|is)\s+tied(?!\w)|(?:are|is)\s+(?:(?:both|roughly|about|basically|essentially|virtually|almost)\s+)?"
    r"(?:equally\s+(?:good|bad|strong|weak|helpful|valid|accurate|effective|acceptable|matched|correct)|equivalent|"
    r"equal|on\s+par|comparable|indistinguishable|identical\s+in\s+quality)(?!\w)|equally\s+(?:good|bad)(?!\w)|"
    r"(?:equal|same|similar|comparable)\s+(?:in\s+)?quality(?!\w)|performed\s+equally|"
    r"neither\s+(?:(?:one|response|answer|output|assistant|option|model|of\s+\w+(?:\s+\w+)?)\s+)?"
    r"(?:is|was|wins|stands\s+out)(?:\s+(?:clearly|better|superior|the\s+winner))*|"
    r"no\s+(?:clear\s+|obvious\s+|significant\s+|real\s+|meaningful\s+)?(?:winner|preference|difference)(?!\w)|"
    r"neither\s+[^.\n]{1,40}?\s+nor\s+[^.\n]{1,40}?\s+(?:is|was)\s+(?:clearly\s+)?better|tie(?=[.!\s]*$)|gleich\s+gut|gleichwertig|unentschieden|"
    r"aussi\s+bonnes?|équivalente?s|égalité|igual(?:mente)?\s+(?:de\s+)?(?:buen[oa]s|bo[an]s)|empate|equivalentes|"
    r"одинаково\s+хорош\w*|ничья|равноценны)(?!\w)|平局|一样好|同样好|不相上下|引き分け|同等|同じくらい|무승부|동등"
)
"""Words for a tie; they count only where a tie was on offer."""

REFUSAL = re.compile(
    r"(?<!\w)(?:i(?:['’]m|\s+am)\s+(?:sorry|unable|not\s+able|not\s+comfortable|afraid)|"
    r"i\s+(?:can(?:not|['’]t)|won['’]t|will\s+not|must\s+decline|do\s+not\s+feel|decline|refuse)|"
    r"i\s+(?:apologi[sz]e)|as\s+an?\s+(?:ai|artificial|large\s+language|language)|against\s+my\s+(?:programming|policy|"
    r"guidelines)|not\s+appropriate\s+(?:for\s+me\s+)?to|ich\s+kann\s+(?:\w+\s+){0,3}(?:nicht|keine)|"
    r"je\s+(?:ne\s+peux|suis\s+désolé)|no\s+puedo|lo\s+siento|não\s+posso|non\s+posso|я\s+не\s+могу|извините)(?!\w)|"
    r"我(?:无法|不能|不便)|抱歉|对不起|申し訳|お答えできません|죄송"
)
