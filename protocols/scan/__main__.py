"""`python -m protocols.scan`: the parameter table, computed: what docs/scan.md quotes."""

from math import log2

from protocols.scan.parameters import ETA, FIELDS, PRIMES, T_BITS, WIDTH, Parameters, largest_safe_threshold
from protocols.scan.parameters import largest_threshold as largest


def main() -> None:
    """Print what the parameters come to."""
    p = Parameters()
    room = p.q >> (T_BITS + 1)
    print(f"q = {PRIMES[0]} * {PRIMES[1]}, log2 q = {log2(p.q):.2f}; t = 2^{T_BITS}; eta = {ETA}")
    print(f"fields a coefficient: {FIELDS} of {WIDTH} bits; slots a lane: {p.slots_per_lane}")
    print(f"a signed sum of {p.bits} residues stays below 2^{log2(p.bits * (max(PRIMES) // 2)):.2f}; float64: 2^53")
    print(f"noise of a scan result, worst case: 2^{log2(p.noise_bound()):.2f}; room q/2t: 2^{log2(room):.2f}")
    for bits in (256, 64):
        t = largest_safe_threshold(bits)
        chance = Parameters(bits=bits, threshold=t).random_match_log2
        print(f"{bits}-bit hashes: T up to {t} (chance of a random match 2^{chance:.2f}); room up to {largest(bits)}")


if __name__ == "__main__":
    main()
