"""The numbers of this folder that were measured, on CPUs with and without AVX-512."""

# Input channels below which a 3 x 3 convolution is XLA's: its transformed tiles would
# be multiplied by too little to be worth transforming.
FEWEST_CHANNELS = 16

# Entries of a filter above which a depthwise convolution is XLA's: each is a slice in
# one loop, which takes longer to compile. With 7 x 7 it takes 0.35 s.
MOST_SHIFTS = 49

# Bytes of transformed tiles that are worked on at a time: what fits the cache.
BLOCK_BYTES = 1 << 20

# The points that Winograd's form interpolates at, besides 0 and infinity: these two and
# their negatives. With 1 and 2, the usual ones, its errors are ten times a
# convolution's in float32; with these they are three to five times, 2e-6 to 4e-6 of the
# largest value (Barabasz et al. 2020).
NEAR, FAR = 0.75, 1.5
