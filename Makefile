# Short names for dev.py, which does the work and needs only Python 3.11.
#   make bench NAME=alert_latency        make run ARGS="incidents list"        make quick ARGS="-k workflow"
.PHONY: help demo test quick lint lock setup run bench

help:
	@python3 dev.py --help

demo test quick lock run:
	@python3 dev.py $@ $(ARGS)

lint setup:
	@python3 dev.py $@

bench:
	@python3 dev.py bench $(NAME) $(ARGS)
