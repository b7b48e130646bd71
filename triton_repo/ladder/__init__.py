"""The ladder: from the float64 reference to the served answer, does every step say the same age?

``ssr-serve verify``. Each rung (:mod:`.rung`) answers the same pictures (:mod:`.pictures`); each answer is
held to the one table of tolerances (:mod:`.row`). :mod:`.climber` climbs, :mod:`.summary` says what it
found.
"""
