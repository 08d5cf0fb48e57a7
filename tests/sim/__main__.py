"""Runs seeds from the command line and says what they covered: ``python -m sim FIRST [LAST]`` in ``tests``."""
import sys, time, collections
from sim.story import run, Failure
first=int(sys.argv[1]); last=int(sys.argv[2]) if len(sys.argv)>2 else first
cov=collections.Counter(); t0=time.time(); long=[]; bad=0
for seed in range(first,last+1):
    t=time.time()
    try:
        o=run(seed)
    except Failure as e:
        bad+=1
        print("SEED",seed,"FAILED",e if last-first<3 else str(e)[:700]); continue
    cov.update(o.covered); long.append((o.longest_s,seed))
    if first==last: print("\n".join(o.trace)); print(o.digest, time.time()-t)
print(dict(cov)); print(sorted(long)[-5:]); print(bad,"bad", time.time()-t0)
