"""Learning from demonstrations, one method a file. Needs torch. Start reading at `bc.py`."""
