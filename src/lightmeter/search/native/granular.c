/* Granular search, some queries side by side so that basis and codes are read once for all. Twin in Python: `search/twin.py`; tests hold both to brute force.
 * Compiled twice: as it stands, and with WIDE for processors with AVX2.
 *
 * All bounds are on squared distances, in units of 1 / scale^2 (see `search/granules.py`):
 *
 *   |x - r|^2  >=  A + B_r - 2 t <z, c_r> - 2 |z| e_r - 2 kappa |x_res| |r_res|        (kappa = 1: Cauchy-Schwarz)
 *
 * z: the query's coordinates; c_r: the row's, as int8 codes of step t; e_r: what the codes lose; x_res, r_res: what the
 * granules read so far leave out. Rounding is paid for in advance, by shrinking A and B (`prepare`, `charge`).
 */
#include "granular.h"
#include "codes.h"

#include <float.h>
#include <math.h>
#include <string.h>
#ifdef WIDE
#define lm_search lm_search_avx2
#else
#define lm_search lm_search_plain
#endif

#define TOP 16383      /* largest code of a query */
#define SIDE 8         /* queries side by side */
#define STRIPE 256     /* rows whose bounds are taken for one query before the next */
#define ROUNDING 1e-5f /* share of A and B that covers float32 arithmetic over MOST_COMPONENTS terms */
#define HIDDEN 4e-6f   /* share of A that may hide in the difference |x|^2 - |z|^2 */
#define PIECE 512      /* dimensions of a distance between two looks at the limit */

typedef struct {
    double inverse_norm;
    float step;            /* of `codes` */
    float A, rest;         /* |x|^2 and what is left of it after the granules read so far */
    float constant, share; /* the bound's A part, and its factor of B */
    float t;               /* see `charge` */
    float z_step, z_norm;  /* of the granule read last */
    int16_t *codes;        /* [padded] the centred query */
    float a[MOST_COMPONENTS], z[MOST_COMPONENTS];
    int16_t z_codes[MOST_COMPONENTS];
    int32_t sums[MOST_COMPONENTS];
    float *centred;        /* [padded] */
    int state;             /* 1: goes on by bounds, 0: its numbers are too large for them */
} Query;

typedef struct {
    int64_t k, filled, *ids;
    double *distances;
} Best;

typedef struct {
    const Granules *g;
    const Ask *ask;
    const float *x;
    Query *q;
    Best best;
    Told *told;
    float *lower;   /* [rows] bounds; inf: out of the race or measured */
    int32_t *idx;   /* survivors */
    int64_t n;
    float proof;
    float rest;     /* |x_res| at the granule read last */
} Race;

/* -- sums ------------------------------------------------------------------------------------------------------------ */

static float square_sum(const float *v, int64_t n) {
    float s[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) s[j] += v[i + j] * v[i + j];
    for (; i < n; i++) s[0] += v[i] * v[i];
    for (int j = 8; j; j /= 2)
        for (int i2 = 0; i2 < j; i2++) s[i2] += s[i2 + j];
    return s[0];
}

static float float_dot(const float *x, const float *y, int64_t n) {
    float s[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) s[j] += x[i + j] * y[i + j];
    for (; i < n; i++) s[0] += x[i] * y[i];
    for (int j = 8; j; j /= 2)
        for (int i2 = 0; i2 < j; i2++) s[i2] += s[i2 + j];
    return s[0];
}

/* Distances in full are summed in float64: what wins is what wins in a float64 scan. */
static double l2(const float *x, const float *y, int64_t n) {
    double s[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) {
            double d = (double)x[i + j] - y[i + j];
            s[j] += d * d;
        }
    for (; i < n; i++) s[0] += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    for (int j = 8; j; j /= 2)
        for (int i2 = 0; i2 < j; i2++) s[i2] += s[i2 + j];
    return s[0];
}

/* The same of a x and b y: for cosine, |u - v|^2 loses nothing between near-equal directions, as 2 - 2 <u, v> does. */
static double l2_scaled(const float *x, double a, const float *y, double b, int64_t n) {
    double s[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) {
            double d = x[i + j] * a - y[i + j] * b;
            s[j] += d * d;
        }
    for (; i < n; i++) s[0] += (x[i] * a - y[i] * b) * (x[i] * a - y[i] * b);
    for (int j = 8; j; j /= 2)
        for (int i2 = 0; i2 < j; i2++) s[i2] += s[i2 + j];
    return s[0];
}

static double length_of(const float *x, int64_t n) {
    double s[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) s[j] += (double)x[i + j] * x[i + j];
    for (; i < n; i++) s[0] += (double)x[i] * x[i];
    for (int j = 8; j; j /= 2)
        for (int i2 = 0; i2 < j; i2++) s[i2] += s[i2 + j];
    return sqrt(s[0]);
}

/* -- a query's coordinates ---------------------------------------------------------------------------------------------- */

/* code = round(v / step); returns the step, and the length of what is lost. n: a multiple of 16
 * step is max |v| / TOP, or more where the sum of |code| 127 would leave int32 (many numbers, all large). */
static float quantise(const float *v, int64_t n, int16_t *codes, float *lost) {
    float most[16] = {0}, total[16] = {0};
    for (int64_t i = 0; i < n; i += 16)
        for (int j = 0; j < 16; j++) {
            const float size = fabsf(v[i + j]);
            most[j] = size > most[j] ? size : most[j];
            total[j] += size;
        }
    for (int j = 1; j < 16; j++) {
        most[0] = most[j] > most[0] ? most[j] : most[0];
        total[0] += total[j];
    }
    *lost = 0;
    if (!(most[0] > 1e-30f)) {
        memset(codes, 0, (size_t)n * sizeof *codes);
        *lost = sqrtf((float)n) * 1e-30f;
        return 0;
    }
    const float room = 2.0e9f / 127 - (float)n; /* n: rounding may add 1/2 to each code */
    const float step = fmaxf(most[0] / TOP, total[0] / room), inverse = 1 / step;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds */
    float sum[16] = {0};
    for (int64_t i = 0; i < n; i += 16)
        for (int j = 0; j < 16; j++) {
            float code = (v[i + j] * inverse + magic) - magic;
            codes[i + j] = (int16_t)(int32_t)code;
            float d = v[i + j] - code * step;
            sum[j] += d * d;
        }
    for (int j = 1; j < 16; j++) sum[0] += sum[j];
    *lost = sqrtf(sum[0]) * 1.001f;
    return step;
}

/* An error e of the query moves <x, r> by at most e |r|, and 2 e |r| <= e (t + |r|^2 / t) for any t > 0. */
static void charge(Query *q, float error) {
    q->constant -= 1.02f * error * q->t;
    q->share -= 1.02f * error / q->t;
}

/* Centre and code the query. 0: no bound can be told, its numbers are too large; -1: they are not finite. */
static int prepare(const Granules *g, const float *x, Query *q) {
    float *centred = q->centred;
    double by = g->scale;
    float own = 0; /* 2 - 2 cos = |u - v|^2 + (1 - |u|^2) + (1 - |v|^2): a zero vector is not of length 1 */
    q->inverse_norm = 1;
    if (g->inverse_norms) {
        double length = length_of(x, g->dim);
        q->inverse_norm = length > 0 ? 1 / length : 0;
        own = length > 0 ? 0 : (float)(g->scale * g->scale);
        by *= q->inverse_norm;
    }
    const double mean_by = g->scale;
    for (int64_t i = 0; i < g->dim; i++) centred[i] = (float)(x[i] * by - g->mean[i] * mean_by);
    for (int64_t i = g->dim; i < g->padded; i++) centred[i] = 0;
    const double precise = length_of(centred, g->padded); /* over all dimensions: in double */
    const float energy = (float)(precise * precise);
    if (!(energy < 1e30f)) {
        for (int64_t i = 0; i < g->dim; i++)
            if (!isfinite(x[i])) return -1;
        return 0;
    }
    float lost;
    q->step = quantise(centred, g->padded, q->codes, &lost);
    const float length = sqrtf(energy);
    q->A = energy + own;
    q->rest = (length + lost) * (length + lost) * (1 + 1e-6f);
    q->constant = q->A * (1 - ROUNDING);
    q->share = 1 - ROUNDING;
    q->t = fmaxf((float)g->typical, length); /* so large that the factor of B stays near 1 */
    charge(q, lost + 2e-7f * length);
    return 1;
}

/* Sums of the queries with the basis' rows [from, to): each eight rows are read once for all queries. */
static void project(const Granules *g, Race *races, int64_t count, int64_t from, int64_t to) {
    for (int64_t k = from; k < to; k += 8)
        for (int64_t i = 0; i < count; i++)
            code_dots(races[i].q->codes, g->basis + k * g->padded, g->padded, 8, races[i].q->sums + k);
}

/* From sums to coordinates of one granule [from, to), their codes and length; returns |x_res|, rounded up. */
static float granule(const Granules *g, Query *q, int64_t from, int64_t to, int64_t K) {
    for (int64_t k = from; k < to; k++) q->a[k] = q->step * g->basis_step[k] * (float)q->sums[k];
    for (int64_t k = from; k < to; k++) q->z[k] = float_dot(g->mix + k * K, q->a, k + 1);
    float lost;
    const float squared = square_sum(q->z + from, to - from);
    q->z_step = quantise(q->z + from, to - from, q->z_codes + from, &lost);
    q->z_norm = sqrtf(squared) * (1 + 1e-6f);
    q->rest = q->rest > squared ? q->rest - squared : 0;
    charge(q, lost);
    return sqrtf(q->rest + HIDDEN * q->A) * (1 + 1e-6f);
}

/* Bytes of the basis and of `mix` that a granule reads. */
static int64_t basis_bytes(const Granules *g, int64_t from, int64_t to) {
    return (to - from) * g->padded + 2 * (to * (to + 1) - from * (from + 1));
}

/* -- the k best ---------------------------------------------------------------------------------------------------------- */

static double worst(const Best *b) { return b->filled < b->k ? INFINITY : b->distances[b->k - 1]; }

static void offer(Best *b, double d, int64_t id) {
    int64_t at = b->filled;
    if (at < b->k) {
        b->filled++;
    } else {
        at--;
        if (d > b->distances[at] || (d == b->distances[at] && id > b->ids[at])) return;
    }
    for (; at > 0 && (b->distances[at - 1] > d || (b->distances[at - 1] == d && b->ids[at - 1] > id)); at--) {
        b->distances[at] = b->distances[at - 1];
        b->ids[at] = b->ids[at - 1];
    }
    b->distances[at] = d;
    b->ids[at] = id;
}

/* Measure a row in full, or as far as it can still win, and take it out of the race. */
static void measure(Race *race, int64_t j) {
    const Granules *g = race->g;
    const float *y = g->vectors + j * g->dim;
    const double limit = worst(&race->best);
    const double a = race->q->inverse_norm, b = g->inverse_norms ? g->inverse_norms[j] : 1;
    const int directionless = a == 0 || b == 0;
    double d = directionless ? 2 : 0;
    for (int64_t i = 0; i < g->dim && d <= limit && !directionless; i += PIECE) {
        const int64_t n = g->dim - i < PIECE ? g->dim - i : PIECE;
        d += g->inverse_norms ? l2_scaled(race->x + i, a, y + i, b, n) : l2(race->x + i, y + i, n);
        race->told->bytes += 4 * n;
    }
    offer(&race->best, d, j);
    race->told->refined++;
    race->lower[j] = INFINITY;
}

/* The distance answered last as a bound must see it, rounded up. */
static float limit_of(const Race *race) {
    const double limit = worst(&race->best) * race->g->scale * race->g->scale;
    return limit < 1e30 ? (float)(limit * (1 + 1e-6)) : INFINITY;
}

/* -- heaps of row numbers by bound ------------------------------------------------------------------------------------------ */

/* `sign` 1: the least on top, -1: the greatest */
static void sift(int32_t *idx, const float *key, int64_t n, int64_t at, float sign) {
    const int32_t moved = idx[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && sign * key[idx[child + 1]] < sign * key[idx[child]]) child++;
        if (!(sign * key[idx[child]] < sign * key[moved])) break;
        idx[at] = idx[child];
    }
    idx[at] = moved;
}

static void heapify(int32_t *idx, const float *key, int64_t n, float sign) {
    for (int64_t at = n / 2 - 1; at >= 0; at--) sift(idx, key, n, at, sign);
}

/* Measure the k rows with the lowest bounds. */
static void measure_lowest(Race *race) {
    const float *key = race->lower;
    int32_t *idx = race->idx;
    int64_t n = 0, j = 0;
    for (; j < race->g->rows && n < race->ask->k; j++)
        if (key[j] < INFINITY) idx[n++] = (int32_t)j;
    heapify(idx, key, n, -1);
    for (; n && j < race->g->rows; j++)
        if (key[j] < key[idx[0]]) idx[0] = (int32_t)j, sift(idx, key, n, 0, -1);
    for (int64_t i = 0; i < n; i++) measure(race, idx[i]);
}

/* -- the first granule: bounds of all rows ------------------------------------------------------------------------------------ */

typedef struct {
    float constant, share, product, error, residual, guess; /* factors of 1, B, <z,c>, e, r and r in the guess */
} Factors;

/* Bounds of rows [j, to); *first becomes the row whose distance is guessed to be the least. */
static void bound_rest(Race *race, Factors f, int64_t j, int64_t to, float *least, int64_t *first) {
    const Granules *g = race->g;
    const int64_t m = g->widths[0];
    for (; j < to; j++) {
        const float base = f.constant + f.share * g->energies[j] - f.error * g->errors[0][j] -
                           f.product * (float)code_dot(race->q->z_codes, g->codes[0] + j * m, m);
        race->lower[j] = base - f.residual * g->residuals[0][j];
        const float guess = base - f.guess * g->residuals[0][j];
        if (guess < *least) *least = guess, *first = j;
    }
}

#ifdef WIDE
static int64_t bound_eights(Race *race, Factors f, int64_t start, int64_t to, float *least, int64_t *first) {
    const Granules *g = race->g;
    const int64_t m = g->widths[0], whole = to & ~(int64_t)7;
    const int16_t *z = race->q->z_codes;
    const __m256 constant = _mm256_set1_ps(f.constant), share = _mm256_set1_ps(f.share);
    const __m256 product = _mm256_set1_ps(f.product), error = _mm256_set1_ps(f.error);
    const __m256 residual = _mm256_set1_ps(f.residual), guess = _mm256_set1_ps(f.guess);
    __m256 lowest = _mm256_set1_ps(INFINITY);
    const __m256i eight = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i where = _mm256_setzero_si256(), now = _mm256_add_epi32(eight, _mm256_set1_epi32((int32_t)start));
    for (int64_t j = start; j < whole; j += 8) {
        const int8_t *codes = g->codes[0] + j * m;
        for (int64_t at = 0; at < 8 * m; at += 64) _mm_prefetch((const char *)(codes + 16 * m + at), _MM_HINT_T0);
        const __m256 dots = _mm256_cvtepi32_ps(m == 64 ? code_dot8(z, codes, 64) : code_dot8(z, codes, m));
        const __m256 r = _mm256_loadu_ps(g->residuals[0] + j);
        __m256 base = _mm256_fmadd_ps(share, _mm256_loadu_ps(g->energies + j), constant);
        base = _mm256_fnmadd_ps(product, dots, base);
        base = _mm256_fnmadd_ps(error, _mm256_loadu_ps(g->errors[0] + j), base);
        _mm256_storeu_ps(race->lower + j, _mm256_fnmadd_ps(residual, r, base));
        const __m256 guessed = _mm256_fnmadd_ps(guess, r, base), less = _mm256_cmp_ps(guessed, lowest, _CMP_LT_OQ);
        lowest = _mm256_blendv_ps(lowest, guessed, less);
        where = _mm256_blendv_epi8(where, now, _mm256_castps_si256(less));
        now = _mm256_add_epi32(now, _mm256_set1_epi32(8));
    }
    float values[8];
    int32_t places[8];
    _mm256_storeu_ps(values, lowest);
    _mm256_storeu_si256((__m256i *)places, where);
    for (int i = 0; i < 8; i++)
        if (values[i] < *least) *least = values[i], *first = places[i];
    return whole;
}

static int64_t keep_eights(Race *race, float slack, float limit) {
    const int64_t whole = race->g->rows & ~(int64_t)7;
    const __m256 top = _mm256_set1_ps(limit), by = _mm256_set1_ps(slack), inf = _mm256_set1_ps(INFINITY);
    __m256 proof = inf;
    for (int64_t j = 0; j < whole; j += 8) {
        const __m256 bound = _mm256_loadu_ps(race->lower + j), in = _mm256_cmp_ps(bound, top, _CMP_LE_OQ);
        const __m256 proven = _mm256_fnmadd_ps(by, _mm256_loadu_ps(race->g->residuals[0] + j), bound);
        proof = _mm256_min_ps(proof, _mm256_blendv_ps(proven, inf, in));
        for (unsigned mask = (unsigned)_mm256_movemask_ps(in); mask; mask &= mask - 1)
            race->idx[race->n++] = (int32_t)(j + __builtin_ctz(mask));
    }
    float values[8];
    _mm256_storeu_ps(values, proof);
    for (int i = 0; i < 8; i++) race->proof = values[i] < race->proof ? values[i] : race->proof;
    return whole;
}
#endif

/* Rows whose bound does not pass the limit become the survivors; the others' proven bound is kept in mind. */
static void keep_all(Race *race, float slack) {
    const float limit = fminf(limit_of(race), FLT_MAX);
    int64_t j = 0;
    race->n = 0;
#ifdef WIDE
    j = keep_eights(race, slack, limit);
#endif
    for (; j < race->g->rows; j++) {
        const float proven = race->lower[j] - slack * race->g->residuals[0][j];
        if (race->lower[j] <= limit)
            race->idx[race->n++] = (int32_t)j;
        else if (proven < race->proof)
            race->proof = proven;
    }
}

/* All rows' bounds for all queries: a stripe of rows stays in the cache while each query passes over it. */
static void bound_all(const Granules *g, Race *races, const Factors *factors, int64_t count, float *least, int64_t *first) {
    for (int64_t start = 0; start < g->rows; start += STRIPE) {
        const int64_t to = start + STRIPE < g->rows ? start + STRIPE : g->rows;
        for (int64_t i = 0; i < count; i++) {
            int64_t from = start;
#ifdef WIDE
            from = bound_eights(races + i, factors[i], start, to, least + i, first + i);
#endif
            bound_rest(races + i, factors[i], from, to, least + i, first + i);
        }
    }
}

static void first_granule(Race *races, int64_t count, int64_t K) {
    const Granules *g = races->g;
    Factors factors[SIDE];
    float least[SIDE];
    int64_t first[SIDE];
    project(g, races, count, 0, g->widths[0]);
    for (int64_t i = 0; i < count; i++) {
        Race *race = races + i;
        Query *q = race->q;
        const float rest = race->rest = granule(g, q, 0, g->widths[0], K);
        factors[i] = (Factors){q->constant, q->share, 2 * q->z_step * (float)g->steps[0], 2 * q->z_norm,
                               2 * race->ask->kappa[0] * rest, 2 * race->ask->guess[0] * rest};
        least[i] = INFINITY;
        first[i] = -1;
    }
    bound_all(g, races, factors, count, least, first);
    for (int64_t i = 0; i < count; i++) {
        Race *race = races + i;
        const Ask *ask = race->ask;
        if (ask->among)
            for (int64_t j = 0; j < g->rows; j++)
                if (!ask->among[j]) race->lower[j] = INFINITY;
        race->told->levels = 1;
        race->told->bytes += basis_bytes(g, 0, g->widths[0]) + g->rows * (g->widths[0] + 12);
        if (ask->k == 1 && first[i] >= 0 && race->lower[first[i]] < INFINITY)
            measure(race, first[i]);
        else
            measure_lowest(race);
        keep_all(race, 2 * (1 - ask->kappa[0]) * race->rest);
        race->told->survivors[0] = race->n;
    }
}

/* -- further granules: bounds of the survivors ---------------------------------------------------------------------------------- */

/* One query's survivors, after `project`. */
static void next_granule(Race *race, int64_t level, int64_t from, int64_t K) {
    const Granules *g = race->g;
    const Ask *ask = race->ask;
    Query *q = race->q;
    const int64_t m = g->widths[level];
    const float *e = g->errors[level], *r = g->residuals[level], *before = g->residuals[level - 1];
    const float constant_before = q->constant, share_before = q->share;
    const float add = 2 * ask->kappa[level - 1] * sqrtf(q->rest + HIDDEN * q->A) * (1 - 1e-6f);
    const float rest = granule(g, q, from, from + m, K);
    const float product = 2 * q->z_step * (float)g->steps[level], error = 2 * q->z_norm;
    const float sub = 2 * ask->kappa[level] * rest, guess = 2 * (ask->kappa[level] - ask->guess[level]) * rest;
    const float constant = q->constant - constant_before, share = q->share - share_before;
    race->told->levels++;
    race->told->bytes += basis_bytes(g, from, from + m) + race->n * (m + 12);
    float least = INFINITY;
    int64_t first = -1;
    for (int64_t i = 0; i < race->n; i++) {
        const int64_t j = race->idx[i];
        if (i + 8 < race->n) {
            const char *ahead = (const char *)(g->codes[level] + (int64_t)race->idx[i + 8] * m);
            for (int64_t at = 0; at < m; at += 64) __builtin_prefetch(ahead + at);
        }
        const float dots = (float)code_dot(q->z_codes + from, g->codes[level] + j * m, m);
        const float bound = race->lower[j] + constant + share * fabsf(g->energies[j]) + add * before[j] - error * e[j] -
                            sub * r[j] - product * dots;
        race->lower[j] = bound;
        if (bound + guess * r[j] < least) least = bound + guess * r[j], first = i;
    }
    if (first >= 0) {
        measure(race, race->idx[first]);
        race->idx[first] = race->idx[--race->n];
    }
    const float limit = limit_of(race), slack = 2 * (1 - ask->kappa[level]) * rest;
    int64_t kept = 0;
    for (int64_t i = 0; i < race->n; i++) {
        const int32_t j = race->idx[i];
        const float proven = race->lower[j] - slack * r[j];
        if (race->lower[j] <= limit)
            race->idx[kept++] = j;
        else if (proven < race->proof)
            race->proof = proven;
    }
    race->n = kept;
    race->told->survivors[level] = kept;
}

/* So many are left that bounds say little: measure them as they lie, which memory likes better. */
static void measure_in_order(Race *race) {
    int64_t n = 0;
    for (int64_t i = 0; i < race->n; i++) {
        const int32_t j = race->idx[i];
        if (race->lower[j] <= limit_of(race))
            measure(race, j);
        else
            race->idx[n++] = j;
    }
    race->n = n;
}

/* Measure survivors, nearest bound first, until the next cannot win. */
static void measure_survivors(Race *race) {
    const Granules *g = race->g;
    int32_t *idx = race->idx;
    if (race->n > g->rows / 4) measure_in_order(race);
    heapify(idx, race->lower, race->n, 1);
    while (race->n > 0 && race->lower[idx[0]] <= limit_of(race)) {
        const int64_t j = idx[0];
        idx[0] = idx[--race->n];
        if (race->n) {
            sift(idx, race->lower, race->n, 0, 1);
            const char *ahead = (const char *)(g->vectors + (int64_t)idx[0] * g->dim);
            for (int64_t at = 0; at < 512; at += 64) __builtin_prefetch(ahead + at);
        }
        measure(race, j);
    }
    const int64_t last = race->told->levels - 1;
    if (last < 0) return;
    const float slack = 2 * (1 - race->ask->kappa[last]) * sqrtf(race->q->rest + HIDDEN * race->q->A) * (1 + 1e-6f);
    for (int64_t i = 0; i < race->n; i++) {
        const float proven = race->lower[idx[i]] - slack * g->residuals[last][idx[i]];
        race->proof = proven < race->proof ? proven : race->proof;
    }
}

/* -- some queries side by side ------------------------------------------------------------------------------------------------------ */

/* Those that go on are moved to the front; returns how many. */
static int64_t going_on(Race *races, int64_t count) {
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        if (races[i].n > races[i].ask->few) {
            Race moved = races[n];
            races[n++] = races[i];
            races[i] = moved;
        }
    return n;
}

static void measure_everything(Race *race) {
    for (int64_t j = 0; j < race->g->rows; j++)
        if (race->g->energies[j] < INFINITY && (!race->ask->among || race->ask->among[j]))
            race->lower[j] = -FLT_MAX, race->idx[race->n++] = (int32_t)j;
}

static void finish(Race *race) {
    const double unit = 1 / (race->g->scale * race->g->scale);
    measure_survivors(race);
    race->told->proof = race->proof * unit;
    race->told->gap = race->proof < INFINITY ? race->told->proof - worst(&race->best) : INFINITY;
    for (int64_t j = race->best.filled; j < race->best.k; j++) race->best.ids[j] = -1, race->best.distances[j] = INFINITY;
}

/* Races of queries that are prepared; those without bounds stand last. */
static void run(Race *races, int64_t count, int64_t K) {
    const Granules *g = races->g;
    int64_t bounded = 0;
    while (bounded < count && races[bounded].q->state) bounded++;
    for (int64_t i = bounded; i < count; i++) measure_everything(races + i);
    if (bounded) first_granule(races, bounded, K);
    int64_t from = g->widths[0], left = going_on(races, bounded);
    for (int64_t level = 1; level < g->levels && left; level++) {
        project(g, races, left, from, from + g->widths[level]);
        for (int64_t i = 0; i < left; i++) next_granule(races + i, level, from, K);
        from += g->widths[level];
        left = going_on(races, left);
    }
    for (int64_t i = 0; i < count; i++) finish(races + i);
}

#define ROOM(bytes) ((((int64_t)(bytes)) + 63) / 64 * 64)

#ifndef WIDE
/* Bytes of scratch that one thread needs for so many queries at a time. */
int64_t lm_scratch(const Granules *g, int64_t count) {
    return (count < SIDE ? count : SIDE) *
           (ROOM(sizeof(Query)) + ROOM(2 * g->padded) + ROOM(4 * g->padded) + ROOM(4 * g->rows) + ROOM(4 * (g->rows + 8)));
}
#endif

int64_t lm_search(const Granules *g, const Ask *ask, const float *queries, int64_t count, char *scratch, int64_t *ids,
                  double *distances, Told *told) {
    int64_t K = 0;
    for (int64_t level = 0; level < g->levels; level++) K += g->widths[level];
    for (int64_t start = 0; start < count; start += SIDE) {
        const int64_t some = count - start < SIDE ? count - start : SIDE;
        Race races[SIDE];
        int64_t front = 0, back = some;
        char *room = scratch;
        for (int64_t i = start; i < start + some; i++) {
            Query *q = (Query *)room;
            q->codes = (int16_t *)(room += ROOM(sizeof(Query)));
            q->centred = (float *)(room += ROOM(2 * g->padded));
            float *lower = (float *)(room += ROOM(4 * g->padded));
            int32_t *idx = (int32_t *)(room += ROOM(4 * g->rows));
            room += ROOM(4 * (g->rows + 8));
            memset(told + i, 0, sizeof *told);
            q->state = prepare(g, queries + i * g->dim, q);
            if (q->state < 0) return i + 1;
            races[q->state ? front++ : --back] =
                (Race){g, ask, queries + i * g->dim, q, {ask->k, 0, ids + i * ask->k, distances + i * ask->k},
                       told + i, lower, idx, 0, INFINITY, 0};
        }
        run(races, some, K);
    }
    return 0;
}
