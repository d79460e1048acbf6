"""From many users' queries to the ones that are trained on: VPO's curation (arXiv 2503.20491, section 3.2), one pure function a rule.

`rules` and `language` look at one query, so that they pass over a stream (`screening`); `near` and `self_bleu` compare what is left;
`safety` reads labels; `dealing` makes the splits; `report` says what was dropped and why.
"""
