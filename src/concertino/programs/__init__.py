"""Programs that a model wrote, judged by running tests: in processes that can reach nothing.

outcome.py      how a run of tests ended
reading.py      the program in what a model wrote
sandbox.py      two limited processes, one for the program and one for its tests, and what passes between them
child.py        what these processes do; with wire.py and isolation.py it is all that they know of Concertino
wire.py         values as text, plain data only
isolation.py    what the kernel forbids them
"""
