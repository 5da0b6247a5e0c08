/* What granular search passes between Python (`search/kernels.py`) and C; the loader checks the sizes. */
#ifndef LIGHTMETER_GRANULAR_H
#define LIGHTMETER_GRANULAR_H
#include <stdint.h>

#define MOST_LEVELS 4
#define MOST_COMPONENTS 1024

typedef struct {
    int64_t rows, dim, padded, levels;
    int64_t widths[MOST_LEVELS];
    const float *vectors;                /* [rows, dim] as given */
    const double *inverse_norms;         /* [rows]; NULL: squared L2, else cosine */
    const float *mean;                   /* [dim] */
    const int8_t *basis;                 /* [K, padded] */
    const float *basis_step;             /* [K] */
    const float *mix;                    /* [K, K] lower triangle: makes the coordinates orthonormal */
    const int8_t *codes[MOST_LEVELS];    /* [rows, width] */
    const float *errors[MOST_LEVELS];    /* [rows] */
    const float *residuals[MOST_LEVELS]; /* [rows] */
    const float *energies;               /* [rows]; inf: removed; -1e30: cannot be bounded, always measured */
    double steps[MOST_LEVELS];
    double scale;                        /* bounds are on squared distances times scale squared */
    double typical;                      /* a typical row's length times scale */
} Granules;

typedef struct {
    int64_t k;
    float kappa[MOST_LEVELS], guess[MOST_LEVELS];
    const uint8_t *among; /* [rows], 0: may not answer; NULL: all may */
    int64_t few;          /* so few survivors are measured without another granule */
} Ask;

typedef struct {
    int64_t levels, refined, bytes, survivors[MOST_LEVELS];
    double gap, proof; /* proof: least bound, by Cauchy-Schwarz alone, of the rows that were not measured */
} Told;

/* Queries [count, dim] to ids and distances [count, k]; 0, or 1 + the place of a query that is not finite. */
typedef int64_t Search(const Granules *, const Ask *, const float *, int64_t, char *, int64_t *, double *, Told *);
Search lm_search_plain, lm_search_avx2;
int64_t lm_scratch(const Granules *, int64_t);
#endif
