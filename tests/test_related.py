"""What is kept of a long table or text: what shares words with the question."""

from concertino.related import most_related, sentences, table_rows

TABLE = [
    ["", "Years ended", ""],
    ["(in thousands)", "2019", "2018"],
    ["Revenue", "", ""],
    ["Cloud", "10", "9"],
    ["Licences", "5", "6"],
    ["Costs", "", ""],
    ["Cloud", "4", "3"],
    ["Staff", "2", "(1)"],
]


def test_a_table_keeps_its_header_and_the_rows_of_the_question_under_their_heading() -> None:
    rows = table_rows(TABLE)
    assert [row.header for row in rows] == [True, True, *[False] * 6]
    kept = most_related(rows, "What did the costs of cloud change by?", 66)
    assert kept == ["|Years ended", "(in thousands)|2019|2018", "Costs", "Cloud|4|3", "Staff|2|(1)"]


def test_years_are_no_numbers_of_a_first_row_and_other_numbers_are() -> None:
    assert [row.header for row in table_rows([["", "2019"], ["Sales", "1,452.4"]])] == [True, False]
    assert [row.header for row in table_rows([["Sales", "$ (1,452)"], ["Costs", "2"]])] == [False, False]


def test_sentences_stay_in_order_and_rare_words_of_the_question_count_most() -> None:
    text = "The firm sold boats. The firm sold cars. It closed a mine in Peru. The firm sold boats."
    assert [unit.text for unit in sentences(text)] == [
        "The firm sold boats.",
        "The firm sold cars.",
        "It closed a mine in Peru.",
    ]
    assert most_related(sentences(text), "Which mines has the firm closed?", 30) == ["It closed a mine in Peru."]
    assert most_related(sentences(text), "Which mines did the firm close?", 50) == [
        "The firm sold boats.",
        "It closed a mine in Peru.",
    ]


def test_what_fits_is_left_as_it_is() -> None:
    assert most_related(sentences("One. Two. Three."), "anything", 20) == ["One.", "Two.", "Three."]
    assert most_related([], "anything", 20) == []
