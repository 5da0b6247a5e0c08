/* Granular search of one query after another. Twin in Python: `search/twin.py`; tests hold both to brute force.
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

#include <float.h>
#include <math.h>
#include <string.h>
#ifdef WIDE
#include <immintrin.h>
#define lm_search lm_search_avx2
#else
#define lm_search lm_search_plain
#endif

#define TOP 16383      /* largest code of a query: sums of products with int8 stay in int32 up to D = 1000 * 1032 / 64 */
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

/* -- products of a query's int16 codes with int8 codes; n is a multiple of 16 ------------------------------------------ */

#ifdef WIDE
static inline __m256i added(__m256i sum, const int16_t *q, const int8_t *c) {
    __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)c));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(wide, _mm256_loadu_si256((const __m256i *)q)));
}

static inline int32_t code_dot(const int16_t *q, const int8_t *c, int64_t n) {
    __m256i s = _mm256_setzero_si256(), t = s;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) s = added(s, q + i, c + i), t = added(t, q + i + 16, c + i + 16);
    if (i < n) s = added(s, q + i, c + i);
    s = _mm256_add_epi32(s, t);
    __m128i u = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    u = _mm_hadd_epi32(u, u);
    return _mm_cvtsi128_si32(_mm_hadd_epi32(u, u));
}

/* eight rows at once */
static inline __m256i code_dot8(const int16_t *q, const int8_t *c, int64_t n) {
    __m256i s[8];
    for (int r = 0; r < 8; r++) s[r] = _mm256_setzero_si256();
    for (int64_t i = 0; i < n; i += 16)
        for (int r = 0; r < 8; r++) s[r] = added(s[r], q + i, c + r * n + i);
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(s[4], s[5]), _mm256_hadd_epi32(s[6], s[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}
#else
static inline int32_t code_dot(const int16_t *q, const int8_t *c, int64_t n) {
    int32_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (int32_t)q[i] * c[i];
    return sum;
}
#endif

static void code_dots(const int16_t *q, const int8_t *rows, int64_t n, int64_t count, int32_t *out) {
    int64_t k = 0;
#ifdef WIDE
    for (; k + 8 <= count; k += 8) _mm256_storeu_si256((__m256i *)(out + k), code_dot8(q, rows + k * n, n));
#endif
    for (; k < count; k++) out[k] = code_dot(q, rows + k * n, n);
}

/* -- a query's coordinates ---------------------------------------------------------------------------------------------- */

/* code = round(v / step), step = max |v| / TOP; returns the step, and the length of what is lost. n: a multiple of 16 */
static float quantise(const float *v, int64_t n, int16_t *codes, float *lost) {
    float most[16] = {0};
    for (int64_t i = 0; i < n; i += 16)
        for (int j = 0; j < 16; j++) most[j] = fabsf(v[i + j]) > most[j] ? fabsf(v[i + j]) : most[j];
    for (int j = 1; j < 16; j++) most[0] = most[j] > most[0] ? most[j] : most[0];
    *lost = 0;
    if (!(most[0] > 1e-30f)) {
        memset(codes, 0, (size_t)n * sizeof *codes);
        *lost = sqrtf((float)n) * 1e-30f;
        return 0;
    }
    const float step = most[0] / TOP, inverse = TOP / most[0], magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds */
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
static int prepare(const Granules *g, const float *x, Query *q, float *centred) {
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
    const float energy = square_sum(centred, g->padded);
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

/* Coordinates of one granule [from, to), their codes and length; returns |x_res|, rounded up. */
static float granule(const Granules *g, Query *q, int64_t from, int64_t to, int64_t K) {
    int32_t sums[MOST_COMPONENTS];
    code_dots(q->codes, g->basis + from * g->padded, g->padded, to - from, sums);
    for (int64_t k = from; k < to; k++) q->a[k] = q->step * g->basis_step[k] * (float)sums[k - from];
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

/* Bounds of rows from `j` on; *first becomes the row whose distance is guessed to be the least. */
static void bound_rest(Race *race, Factors f, int64_t j, float *least, int64_t *first) {
    const Granules *g = race->g;
    const int64_t m = g->widths[0];
    for (; j < g->rows; j++) {
        const float base = f.constant + f.share * g->energies[j] - f.error * g->errors[0][j] -
                           f.product * (float)code_dot(race->q->z_codes, g->codes[0] + j * m, m);
        race->lower[j] = base - f.residual * g->residuals[0][j];
        const float guess = base - f.guess * g->residuals[0][j];
        if (guess < *least) *least = guess, *first = j;
    }
}

#ifdef WIDE
static int64_t bound_eights(Race *race, Factors f, float *least, int64_t *first) {
    const Granules *g = race->g;
    const int64_t m = g->widths[0], whole = g->rows & ~(int64_t)7;
    const int16_t *z = race->q->z_codes;
    const __m256 constant = _mm256_set1_ps(f.constant), share = _mm256_set1_ps(f.share);
    const __m256 product = _mm256_set1_ps(f.product), error = _mm256_set1_ps(f.error);
    const __m256 residual = _mm256_set1_ps(f.residual), guess = _mm256_set1_ps(f.guess);
    __m256 lowest = _mm256_set1_ps(INFINITY);
    __m256i where = _mm256_setzero_si256(), now = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (int64_t j = 0; j < whole; j += 8) {
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

static void first_granule(Race *race, int64_t K) {
    const Granules *g = race->g;
    const Ask *ask = race->ask;
    Query *q = race->q;
    const float rest = granule(g, q, 0, g->widths[0], K);
    const Factors f = {q->constant, q->share, 2 * q->z_step * (float)g->steps[0], 2 * q->z_norm,
                       2 * ask->kappa[0] * rest, 2 * ask->guess[0] * rest};
    float least = INFINITY;
    int64_t first = -1, from = 0;
#ifdef WIDE
    from = bound_eights(race, f, &least, &first);
#endif
    bound_rest(race, f, from, &least, &first);
    if (ask->among)
        for (int64_t j = 0; j < g->rows; j++)
            if (!ask->among[j]) race->lower[j] = INFINITY;
    race->told->levels = 1;
    race->told->bytes += basis_bytes(g, 0, g->widths[0]) + g->rows * (g->widths[0] + 12);
    if (ask->k == 1 && first >= 0 && race->lower[first] < INFINITY)
        measure(race, first);
    else
        measure_lowest(race);
    keep_all(race, 2 * (1 - ask->kappa[0]) * rest);
    race->told->survivors[0] = race->n;
}

/* -- further granules: bounds of the survivors ---------------------------------------------------------------------------------- */

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

/* Measure survivors, nearest bound first, until the next cannot win. */
static void measure_survivors(Race *race) {
    const Granules *g = race->g;
    int32_t *idx = race->idx;
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

/* -- one query --------------------------------------------------------------------------------------------------------------------- */

static int search_one(Race *race, float *centred, int64_t K) {
    const Granules *g = race->g;
    memset(race->told, 0, sizeof *race->told);
    race->proof = INFINITY;
    race->n = 0;
    const int state = prepare(g, race->x, race->q, centred);
    if (state < 0) return 1;
    if (state) {
        first_granule(race, K);
        int64_t from = g->widths[0];
        for (int64_t level = 1; level < g->levels && race->n > race->ask->few; from += g->widths[level++])
            next_granule(race, level, from, K);
    } else {
        for (int64_t j = 0; j < g->rows; j++)
            if (g->energies[j] < INFINITY && (!race->ask->among || race->ask->among[j]))
                race->lower[j] = -FLT_MAX, race->idx[race->n++] = (int32_t)j;
    }
    measure_survivors(race);
    race->told->proof = race->proof / (g->scale * g->scale);
    race->told->gap = race->proof < INFINITY ? race->told->proof - worst(&race->best) : INFINITY;
    return 0;
}

#define ROOM(bytes) ((((int64_t)(bytes)) + 63) / 64 * 64)

#ifndef WIDE
/* Bytes of scratch that one thread needs. */
int64_t lm_scratch(const Granules *g) {
    return ROOM(sizeof(Query)) + ROOM(2 * g->padded) + ROOM(4 * g->padded) + ROOM(4 * g->rows) + ROOM(4 * (g->rows + 8));
}
#endif

int64_t lm_search(const Granules *g, const Ask *ask, const float *queries, int64_t count, char *scratch, int64_t *ids,
                  double *distances, Told *told) {
    Query *q = (Query *)scratch;
    q->codes = (int16_t *)(scratch += ROOM(sizeof(Query)));
    float *centred = (float *)(scratch += ROOM(2 * g->padded));
    float *lower = (float *)(scratch += ROOM(4 * g->padded));
    int32_t *idx = (int32_t *)(scratch += ROOM(4 * g->rows));
    int64_t K = 0;
    for (int64_t level = 0; level < g->levels; level++) K += g->widths[level];
    for (int64_t i = 0; i < count; i++) {
        Race race = {g, ask, queries + i * g->dim, q, {ask->k, 0, ids + i * ask->k, distances + i * ask->k}, told + i, lower, idx, 0, 0};
        if (search_one(&race, centred, K)) return i + 1;
        for (int64_t j = race.best.filled; j < ask->k; j++) race.best.ids[j] = -1, race.best.distances[j] = INFINITY;
    }
    return 0;
}
