"""How good a skill is, against what, at what cost, and when it should rather not answer.

tasks/            what is asked and when an answer is right, one small file a kind of task
running.py        generations on an engine, one at a time, with their cost; every prediction is kept
prompting.py      the prompts that a generalist is given, and the choice of its best
classical.py      TF-IDF, nearest neighbours and the frozen encoder
calibration.py    temperature and abstention threshold from the calibration part
statistics.py     intervals and paired tests
metrics.py        figures of merit
evaluate.py       all of it for one run
bases.py          models that nothing was trained on; bases_report.py says what was found
report.py         evaluation.json as Markdown; page.py and plots.py as one HTML page
"""
