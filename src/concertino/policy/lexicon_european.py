# ruff: noqa: SIM905 - a list of words reads as words
"""Words of a health context in German, French, Spanish, Italian, Dutch and Portuguese: what letters and notes turn on.

Far fewer than in English, and none that English, law or banking uses for something else ("Rezept" and "Befund" are
left out, and so is "ordonnance"). Words that are spelt as in English stand there.
"""

GERMAN = frozenset(
    """
    zuckerkrankheit bluthochdruck schlaganfall herzinfarkt herzinsuffizienz herzrhythmusstörungen vorhofflimmern
    krebserkrankung brustkrebs lungenkrebs darmkrebs prostatakrebs hautkrebs leukämie metastasen chemotherapie
    strahlentherapie lungenentzündung lungenembolie thrombose blinddarmentzündung knochenbruch oberschenkelhalsbruch
    bandscheibenvorfall kopfschmerzen rückenschmerzen bauchschmerzen brustschmerzen schmerzen fieber husten durchfall
    erbrechen übelkeit schwindelanfälle atemnot bewusstlos bewusstlosigkeit hautausschlag schwanger schwangerschaft
    fehlgeburt kaiserschnitt depressionen angststörung schizophrenie suizid suizidal suizidgedanken selbstmordgedanken
    alkoholabhängig alkoholabhängigkeit drogenabhängig demenz epilepsie sklerose allergien neurodermitis rheuma gicht
    arthrose osteoporose nierenversagen niereninsuffizienz dialyse leberzirrhose gelbsucht magengeschwür gallensteine
    nierensteine impfung geimpft blutzucker blutdruck blutwerte blutbild laborwerte anamnese arztbrief entlassbrief
    entlassungsbrief krankenhaus klinikum hausarzt hausärztin facharzt notaufnahme intensivstation
    ultraschall magenspiegelung darmspiegelung herzkatheter medikament medikamente medikation antibiotika
    schmerzmittel blutverdünner patientin patientinnen patienten krankheit krankheiten erkrankung erkrankungen erkrankt
    krankgeschrieben krankschreibung arbeitsunfähig pflegebedürftig schwerbehindert hiv-positiv infektion infiziert
    entzündung geschwollen juckreiz allergisch psychiatrie psychiatrisch
    """.split()
)
FRENCH = frozenset(
    """
    diabète diabete diabétique hypertendu infarctus avc tumeur métastase chimiothérapie radiothérapie pneumonie embolie
    maladie douleur douleurs fièvre nausée vomissement diarrhée vertige essoufflement dyspnée grossesse accouchement
    césarienne avortement dépressif dépressive suicidaire schizophrénie bipolaire démence épilepsie sclérose
    asthme asthmatique allergie allergique arthrose ostéoporose dialyse cirrhose hépatite ulcère vacciné vaccinée
    glycémie diagnostiqué diagnostiquée médicament médicaments hospitalisé hospitalisée hospitalisation médecin
    médecins chirurgie chirurgien patiente patientes séropositif séropositive vih sida psychiatrique
    psychiatre oncologie cardiologue ménopause insuline anticoagulants
    """.split()
)
SPANISH = frozenset(
    """
    hipertensión hipertension hipertenso infarto ictus cáncer metástasis quimioterapia radioterapia neumonía trombosis
    enfermedad enfermedades fiebre náuseas vómitos diarrea mareos embarazo embarazada cesárea aborto
    suicidio suicida esquizofrenia demencia epilepsia esclerosis alergia alergias alérgico alérgica
    artrosis diálisis úlcera vacunado vacunada glucosa glucemia diagnóstico diagnosticado diagnosticada medicamento
    medicamentos hospitalizado hospitalizada cirugía cirujano paciente pacientes psiquiatra psiquiátrico oncología
    insulina
    """.split()
)
ITALIAN = frozenset(
    """
    diabete diabetico ipertensione iperteso infarto cancro tumore tumori metastasi chemioterapia polmonite trombosi
    malattia malattie dolori febbre vomito diarrea vertigini gravidanza incinta cesareo suicidio
    schizofrenia demenza epilessia sclerosi artrosi osteoporosi dialisi cirrosi epatite ulcera vaccinato vaccinata
    glicemia diagnosi diagnosticato diagnosticata farmaco farmaci ospedale ricoverato ricoverata chirurgia chirurgo
    paziente pazienti psichiatra ipotiroidismo allergico allergica
    """.split()
)
DUTCH = frozenset(
    """
    suikerziekte hartinfarct hartfalen beroerte kanker borstkanker longkanker longontsteking hersenbloeding ziekte
    ziekenhuis huisarts patiënt patiënten patiente zwanger zwangerschap koorts hoest misselijk duizelig benauwd
    zelfmoord dementie astma nierfalen medicijn medicijnen geopereerd bloedonderzoek bloeddruk gediagnosticeerd
    """.split()
)
PORTUGUESE = frozenset(
    """
    hipertensão câncer doença doenças febre gravidez grávida suicídio demência diálise vacina
    cirurgia doente internado internada quimioterapia
    """.split()
)
PHRASES = frozenset(
    {
        "hoher blutdruck", "insuffisance cardiaque", "insuffisance rénale", "accident vasculaire", "tension artérielle",
        "prise de sang", "bilan sanguin", "éruption cutanée", "accidente cerebrovascular", "insuficiencia cardíaca",
        "insuficiencia renal", "presión arterial", "análisis de sangre", "insufficienza cardiaca",
        "insufficienza renale", "pressione arteriosa", "esami del sangue", "hoge bloeddruk", "pressão arterial",
        # Of words that mean something else too: a firm "operiert", a transfer is "opéré", markets have depressions,
        # courts grant a "remédio", and Dolores and Asma are given names.
        "operiert werden", "operiert wurde", "operiert worden", "wurde operiert", "wird operiert", "frisch operiert",
        "fait opérer", "faire opérer", "opéré d'un", "opéré d'une", "opérée d'un", "opérée d'une",
        "opéré du", "opérée du",
        "en dépression", "fait une dépression", "souffre de dépression", "souffrant de dépression", "ma dépression",
        "dépression nerveuse", "dépression sévère", "con depresión", "tiene depresión", "mi depresión",
        "sufre depresión", "sufre de depresión", "padece depresión", "padece de depresión", "depresión mayor",
        "depresión grave",
        "soffre di depressione", "affetto da depressione", "affetta da depressione", "depressione maggiore",
        "mia depressione", "com depressão", "tem depressão", "sofre de depressão", "minha depressão",
        "dolores de cabeza", "dolores de espalda", "dolores abdominales", "dolores musculares", "dolores articulares",
        "fuertes dolores", "con dolores", "tiene dolores", "tengo dolores", "dolor de cabeza", "dolor abdominal",
        "crisis de asma", "ataque de asma", "tiene asma", "tengo asma", "padece asma", "asma bronquial",
        "asma alérgica", "l'asma", "soffre di asma", "tem asma", "toma remédio", "toma remédios", "tomar remédio",
        "tomar remédios",
    }
)  # fmt: skip

EUROPEAN = GERMAN | FRENCH | SPANISH | ITALIAN | DUTCH | PORTUGUESE | PHRASES

EUROPEAN_ENDINGS = (
    "krankheit", "erkrankung", "erkrankungen", "entzündung", "schmerzen", "infarkt", "karzinom", "insuffizienz",
    "embolie", "geschwür", "blutung", "lähmung", "vergiftung",
)  # fmt: skip
"""Of German compounds."""
