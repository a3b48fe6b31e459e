# A process that ends well is no answer that is right.
# %% hint="raised" text="SystemExit"
import atexit
import sys
import time

atexit.register(time.sleep, 1000)
sys.exit(0)
