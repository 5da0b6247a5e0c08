/* What three-way decisions pass between Python (`search/kernels.py`) and C; the loader checks the sizes. */
#ifndef LIGHTMETER_THREE_WAY_H
#define LIGHTMETER_THREE_WAY_H
#include <stdint.h>

#define TOP 5 /* nearest classes that a rule may look at */

enum { MULTI_LEVEL, POSTERIORS, BAYES_FACTOR, DISTANCE_FACTOR };

typedef struct {
    int64_t rows, alive, classes, dim, levels;
    int64_t rule, by_row, lazy, normalise, defer; /* by_row: the multi-level rule drops rows, not classes */
    const int64_t *edges;                         /* [levels + 1] where each level's components end, from 0 */
    const float *const *blocks;                   /* [levels] of [rows, width], whole numbers of 2^-24 */
    const double *longest;                        /* [levels] a bound of the rows' lengths within each granule */
    const int8_t *coarse;                         /* [rows, coarse_width] first granule, in steps; zeros behind it */
    const float *lost;                            /* [rows] at least the length of what the steps lose */
    const int32_t *coarse_squares;                /* [rows] */
    double coarse_step;
    int64_t coarse_width; /* a multiple of 16 */
    const int32_t *codes; /* [rows] class, -1: removed */
    const int64_t *counts;                        /* [classes] rows that are there */
    const int64_t *ids, *labels;                  /* [rows], ids rising */
    const double *mean;                           /* [dim] */
    const float *components;                      /* [K, dim], whole numbers of 2^-24 */
    double unit;
} Decider;

typedef struct {
    int64_t label, id, levels, reliable_at, multiply_adds, bytes_read;
    int64_t unclear; /* level, from 1, whose posterior is too near its threshold to be judged here; 0 for none */
    double distance, confidence, nearest[TOP]; /* nearest: class distances that the last score was of, rising */
} Decided;

/* Queries [count, dim] by thresholds [levels] to what was decided of each: survivors [count, levels]; left, bits
 * [count, (classes + 7) / 8] of the classes not ruled out; ids and distances [count, k] of the nearest rows of these.
 * 0, or 1 + the place of a query that is not finite. */
typedef int64_t Decide(const Decider *, const double *, const float *, int64_t, int64_t, char *, Decided *, int64_t *,
                       uint8_t *, int64_t *, double *);
Decide lm_decide_plain, lm_decide_avx2;
int64_t lm_decide_scratch(const Decider *);
#endif
