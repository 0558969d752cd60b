"""Other engines running the same work, each in an environment of its own below `bench/.peers`.

`NAME_peer.py` is run by that environment's Python, in a folder of its own that is deleted afterwards; it imports
nothing of plait. It prints one JSON object: what each piece of work took, in seconds, several times.
"""
