/* Three-way decisions on one query after another. Twin in Python: `search/three_way_twin.py`, equal bit for bit.
 * Compiled twice: as it stands, and with WIDE for processors with AVX2.
 *
 * Coordinates are whole numbers of 2^-24 (`search/fixed_point.py`): sums of their products are exact in float64, so
 * that lanes, fused products and the order of summing are free. Only where a query is so far away that they are not (`far`),
 * and for the lengths of vectors, are sums taken in the twin's order: `folded`.
 */
#include "three_way.h"
#include "codes.h"

#include <math.h>
#include <string.h>
#ifdef WIDE
#include <immintrin.h>
#define lm_decide lm_decide_avx2
#else
#define lm_decide lm_decide_plain
#endif

#define VECTOR_BITS 28
#define COORDINATE_BITS 24
#define FARTHEST 1e15
#define EXACT_BELOW 31.0 /* squared distances in units: 2^53 whole numbers of 2^-48 are 32 */
#define STRIPE 256       /* rows whose bounds are taken at once */
#define DOUBTFUL 1e-9    /* posteriors so near a threshold are left to Python's exp */

typedef struct {
    const Decider *g;
    const double *thresholds;
    Decided *told;
    int64_t *survivors;
    double *prepared, *z, *spare, *totals, *minima;
    int32_t *idx, *left; /* rows in the race, rising, beside their totals; classes in the race */
    int64_t n, classes, projected, nearest;
    double least, energy, longest; /* squared lengths of the query and, at most, of a row, as far as read */
} Race;

/* -- sums ---------------------------------------------------------------------------------------------------------- */

/* The last half onto the first, until one is left: `folded` of search/fixed_point.py. */
static double folded(double *v, int64_t n) {
    while (n > 1) {
        const int64_t half = n / 2;
        const double *restrict from = v + n - half;
        double *restrict to = v;
        for (int64_t i = 0; i < half; i++) to[i] += from[i];
        n -= half;
    }
    return n ? v[0] : 0;
}

#ifdef WIDE
static inline __m256d widened(const float *v) { return _mm256_cvtps_pd(_mm_loadu_ps(v)); }

static inline __m256d four_sums(const __m256d s[4]) {
    const __m256d a = _mm256_hadd_pd(s[0], s[1]), b = _mm256_hadd_pd(s[2], s[3]);
    return _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
}

/* Products of a vector with four rows that lie behind each other. */
static inline void four_products(const double *x, const float *rows, int64_t n, double *out) {
    __m256d s[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const __m256d v = _mm256_loadu_pd(x + i);
        for (int r = 0; r < 4; r++) s[r] = _mm256_fmadd_pd(v, widened(rows + r * n + i), s[r]);
    }
    _mm256_storeu_pd(out, four_sums(s));
    for (; i < n; i++)
        for (int r = 0; r < 4; r++) out[r] += x[i] * rows[r * n + i];
}

static inline void four_distances(const double *x, const float *const rows[4], int64_t n, double *out) {
    __m256d s[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const __m256d v = _mm256_loadu_pd(x + i);
        for (int r = 0; r < 4; r++) {
            const __m256d d = _mm256_sub_pd(widened(rows[r] + i), v);
            s[r] = _mm256_fmadd_pd(d, d, s[r]);
        }
    }
    _mm256_storeu_pd(out, four_sums(s));
    for (; i < n; i++)
        for (int r = 0; r < 4; r++) out[r] += (rows[r][i] - x[i]) * (rows[r][i] - x[i]);
}
#endif

static double product(const double *x, const float *row, int64_t n) {
    double s[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) s[j] += x[i + j] * row[i + j];
    for (; i < n; i++) s[0] += x[i] * row[i];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

static double distance(const double *x, const float *row, int64_t n) {
    double s[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) {
            const double d = row[i + j] - x[i + j];
            s[j] += d * d;
        }
    for (; i < n; i++) s[0] += (row[i] - x[i]) * (row[i] - x[i]);
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* -- the query ----------------------------------------------------------------------------------------------------- */

static double length_of(const double *v, double *spare, int64_t n) {
    for (int64_t i = 0; i < n; i++) spare[i] = v[i] * v[i];
    return sqrt(folded(spare, n));
}

/* `View.prepared`; 0 where the query is not finite. */
static int prepare(Race *race, const float *x) {
    const Decider *g = race->g;
    double *v = race->prepared;
    for (int64_t i = 0; i < g->dim; i++) v[i] = x[i];
    if (g->normalise) {
        const double length = length_of(v, race->spare, g->dim);
        if (length > 0)
            for (int64_t i = 0; i < g->dim; i++) v[i] /= length;
    }
    for (int64_t i = 0; i < g->dim; i++) v[i] -= g->mean[i];
    const double length = length_of(v, race->spare, g->dim);
    if (!(length < INFINITY)) return 0;
    int exponent;
    frexp(length, &exponent);
    const double down = ldexp(1, VECTOR_BITS - exponent), up = ldexp(1, exponent - VECTOR_BITS);
    for (int64_t i = 0; i < g->dim; i++) v[i] = rint(v[i] * down) * up;
    return 1;
}

/* `View.coordinates` up to a component. */
static void project(Race *race, int64_t to) {
    const Decider *g = race->g;
    const int64_t from = race->projected, step = 1 << COORDINATE_BITS;
    int64_t k = from;
#ifdef WIDE
    for (; k + 4 <= to; k += 4) four_products(race->prepared, g->components + k * g->dim, g->dim, race->z + k);
#endif
    for (; k < to; k++) race->z[k] = product(race->prepared, g->components + k * g->dim, g->dim);
    for (k = from; k < to; k++) {
        double seen = race->z[k] / g->unit;
        seen = seen > FARTHEST ? FARTHEST : seen < -FARTHEST ? -FARTHEST : seen;
        race->z[k] = (float)(rint(seen * step) * (1.0 / step));
    }
    race->told->multiply_adds += (to - from) * g->dim;
    race->told->bytes_read += (to - from) * g->dim * 4;
    race->projected = to;
}

/* -- the first look: who can matter, by codes of one byte ---------------------------------------------------------- */

/* The query's coordinates as int16 codes, so small that sums of products stay in int32; returns the step. */
static double coded(const double *z, int64_t m, int64_t width, int16_t *codes) {
    const int64_t room = (1LL << 31) / (128 * (width + 1)), top = room < 16383 ? room : 16383;
    double most = 0;
    for (int64_t i = 0; i < m; i++) most = fabs(z[i]) > most ? fabs(z[i]) : most;
    const double step = most / (double)top;
    for (int64_t i = 0; i < width; i++) codes[i] = step > 0 && i < m ? (int16_t)rint(z[i] / step) : 0;
    return step;
}

/* Enter into the race who may stay in it, and the two nearest classes.
 *
 * With q and c the coded query and row, | |z - r| - |q - c| | <= |z - q| + |r - c|: `slack` is the first, and more than
 * covers rounding (an error of d in a square is one of at most sqrt d in its root); `lost` is the second. A class stays
 * if its root is at most the nearest one's / sqrt factor. */
static void enter_some(Race *race, double factor) {
    const Decider *g = race->g;
    const int64_t m = g->edges[1], width = g->coarse_width;
    int16_t *q = (int16_t *)race->spare;
    float *lower = (float *)race->totals;
    const double step = coded(race->z, m, width, q);
    double off = 0, energy = 0, square = 0;
    for (int64_t i = 0; i < m; i++) {
        const double kept = step * q[i];
        off += (race->z[i] - kept) * (race->z[i] - kept);
        energy += race->z[i] * race->z[i];
        square += kept * kept;
    }
    const double slack = sqrt(off) + 1e-6 * (sqrt(energy) + g->longest[0]);
    const double by_square = g->coarse_step * g->coarse_step, by_dot = 2 * step * g->coarse_step;
    float first = INFINITY, second = INFINITY; /* upper bounds of the nearest class and of the nearest other */
    int32_t nearest = -1;
    for (int64_t at = 0; at < g->rows; at += STRIPE) {
        const int64_t n = g->rows - at < STRIPE ? g->rows - at : STRIPE;
        int32_t sums[STRIPE];
        float upper[STRIPE];
        code_dots(q, g->coarse + at * width, width, n, sums);
        for (int64_t i = 0; i < n; i++) {
            const float apart = (float)(square + by_square * g->coarse_squares[at + i] - by_dot * sums[i]);
            const float root = sqrtf(apart > 0 ? apart : 0);
            lower[at + i] = root - g->lost[at + i];
            upper[i] = root + g->lost[at + i];
        }
        for (int64_t i = 0; i < n; i++) {
            if (!(upper[i] < second)) continue;
            const int32_t code = g->codes[at + i];
            if (code < 0) continue;
            if (code == nearest) {
                first = upper[i] < first ? upper[i] : first;
            } else if (upper[i] < first) {
                second = first, first = upper[i], nearest = code;
            } else {
                second = upper[i];
            }
        }
    }
    const double for_score = second + slack, to_stay = factor > 0 ? (first + slack) / sqrt(factor) : INFINITY;
    const float limit = (float)(((for_score > to_stay ? for_score : to_stay) + slack) * (1 + 1e-6));
    uint8_t *in = (uint8_t *)race->minima; /* classes that can stay */
    memset(in, 0, (size_t)g->classes);
    for (int64_t j = 0; j < g->rows; j++)
        if (lower[j] <= limit && g->codes[j] >= 0) in[g->codes[j]] = 1;
    int32_t *left = race->left, *idx = race->idx;
    int64_t classes = 0, n = 0;
    for (int64_t c = 0; c < g->classes; c++) {
        left[classes] = (int32_t)c;
        classes += in[c];
    }
    for (int64_t j = 0; j < g->rows; j++) {
        const int32_t code = g->codes[j], own = code < 0 ? 0 : code;
        idx[n] = (int32_t)j; /* written always and kept sometimes: branches would be guesses */
        n += (code >= 0) & (g->by_row ? lower[j] <= limit : in[own]);
    }
    race->classes = classes;
    race->n = n;
}

static void enter_all(Race *race) {
    const Decider *g = race->g;
    int64_t classes = 0, n = 0;
    for (int64_t j = 0; j < g->rows; j++) {
        race->idx[n] = (int32_t)j;
        n += g->codes[j] >= 0;
    }
    for (int64_t c = 0; c < g->classes; c++) {
        race->left[classes] = (int32_t)c;
        classes += g->counts[c] > 0;
    }
    race->classes = classes;
    race->n = n;
}

/* -- a level ------------------------------------------------------------------------------------------------------- */

/* Add what a granule tells to the totals of the rows in the race. */
static void measure(Race *race, int64_t level) {
    const Decider *g = race->g;
    const int64_t from = g->edges[level], m = g->edges[level + 1] - from;
    const float *block = g->blocks[level];
    const double *z = race->z + from;
    for (int64_t i = 0; i < m; i++) race->energy += z[i] * z[i];
    race->longest += g->longest[level] * g->longest[level];
    const double reach = sqrt(race->energy) + sqrt(race->longest);
    const int far = !(reach * reach < EXACT_BELOW);
    int64_t i = 0;
#ifdef WIDE
    for (; i + 4 <= race->n && !far; i += 4) {
        const float *rows[4];
        double found[4];
        for (int r = 0; r < 4; r++) rows[r] = block + race->idx[i + r] * m;
        if (i + 12 <= race->n)
            for (int r = 8; r < 12; r++)
                for (int64_t at = 0; at < m; at += 16) __builtin_prefetch(block + race->idx[i + r] * m + at);
        four_distances(z, rows, m, found);
        for (int r = 0; r < 4; r++) race->totals[i + r] += found[r];
    }
#endif
    for (; i < race->n; i++) {
        const float *row = block + race->idx[i] * m;
        if (far) {
            for (int64_t d = 0; d < m; d++) race->spare[d] = (row[d] - z[d]) * (row[d] - z[d]);
            race->totals[i] += folded(race->spare, m);
        } else {
            race->totals[i] += distance(z, row, m);
        }
    }
    const int64_t asked = level ? race->n : g->alive; /* as the rule counts; `enter_some` spares most of the first */
    race->told->multiply_adds += asked * m;
    race->told->bytes_read += asked * m * 4;
}

/* Distances of the classes in the race, and the nearest of them; classes whose rows are all out are out. */
static void compare(Race *race) {
    const Decider *g = race->g;
    double *nearest = race->told->nearest;
    int64_t classes = 0, first = 0;
    double best = INFINITY;
    for (int64_t i = 0; i < race->classes; i++) race->minima[race->left[i]] = INFINITY;
    for (int64_t i = 0; i < race->n; i++) {
        const double total = race->totals[i];
        double *least = race->minima + g->codes[race->idx[i]];
        if (total < *least) *least = total;
        if (total < best) best = total, first = i;
    }
    race->least = best;
    race->nearest = race->idx[first];
    for (int j = 0; j < TOP; j++) nearest[j] = INFINITY;
    for (int64_t i = 0; i < race->classes; i++) {
        const double d = race->minima[race->left[i]];
        if (d == INFINITY) continue;
        race->left[classes++] = race->left[i];
        if (d >= nearest[TOP - 1]) continue;
        int at = TOP - 1;
        for (; at > 0 && nearest[at - 1] > d; at--) nearest[at] = nearest[at - 1];
        nearest[at] = d;
    }
    race->classes = classes;
}

static double ratio(double least, double distance) { return distance > 0 ? least / distance : 1; }

/* `Rule.score` in the rule's own units, of the nearest class distances. */
static double score_of(const Decider *g, const double *nearest) {
    if (g->rule == BAYES_FACTOR) return nearest[1] - nearest[0];
    if (g->rule != POSTERIORS) return ratio(nearest[0], nearest[1]);
    double sum = 0;
    for (int j = 0; j < TOP; j++) sum += exp(-100 * (nearest[j] - nearest[0]));
    return 1 / sum;
}

static void read_level(Race *race, int64_t level) {
    const Decider *g = race->g;
    Decided *told = race->told;
    const int64_t to = g->edges[level + 1];
    if (race->projected < to) project(race, to);
    measure(race, level);
    compare(race);
    for (int j = 0; j < TOP; j++) told->nearest[j] *= g->unit * g->unit;
    told->levels = level + 1;
    told->distance = race->least * (g->unit * g->unit);
    told->id = g->ids[race->nearest];
    told->label = g->labels[race->nearest];
    const double score = score_of(g, told->nearest);
    told->confidence = g->rule == MULTI_LEVEL || g->rule == DISTANCE_FACTOR ? 1 - score : score;
}

/* -- the rules ----------------------------------------------------------------------------------------------------- */

/* `rules.kept`: the very ratio, but divided only where a product cannot tell. */
typedef struct {
    double least, factor, surely;
} Keeper;

static Keeper keeper(double least, double factor) { return (Keeper){least, factor, factor * (1 - 2e-15)}; }

static inline int kept(const Keeper *k, double distance) {
    if (distance == k->least) return 1;
    if (k->least < distance * k->surely) return 0;
    return ratio(k->least, distance) >= k->factor;
}

static void narrow(Race *race) {
    const Decider *g = race->g;
    for (int64_t level = 0; level < g->levels; level++) {
        read_level(race, level);
        const Keeper keep = keeper(race->least, race->thresholds[level]);
        int64_t n = 0, classes = 0;
        if (!g->by_row) {
            for (int64_t i = 0; i < race->classes; i++) {
                double *least = race->minima + race->left[i];
                if (kept(&keep, *least))
                    race->left[classes++] = race->left[i];
                else
                    *least = -1;
            }
            race->classes = classes;
        }
        int one_class = 1;
        int32_t code = -1;
        for (int64_t i = 0; i < race->n; i++) {
            const int32_t row = race->idx[i], own = g->codes[row];
            const double total = race->totals[i];
            const int stays = g->by_row ? kept(&keep, total) : race->minima[own] >= 0;
            race->idx[n] = row, race->totals[n] = total;
            n += stays;
            one_class &= !stays | (code < 0) | (code == own);
            code = stays ? own : code;
        }
        race->n = race->survivors[level] = n;
        if (one_class) {
            race->told->reliable_at = level + 1;
            return;
        }
    }
}

static void two_levels(Race *race) {
    const Decider *g = race->g;
    Decided *told = race->told;
    for (int64_t level = 0; level < g->levels; level++) {
        read_level(race, level);
        const double score = score_of(g, told->nearest), threshold = race->thresholds[level];
        if (g->rule == POSTERIORS && fabs(score - threshold) < DOUBTFUL) {
            told->unclear = level + 1;
            return;
        }
        const int sure = g->rule == DISTANCE_FACTOR ? score < threshold : score > threshold;
        race->survivors[level] = sure ? g->counts[g->codes[race->nearest]] : race->n;
        if (sure) {
            const int32_t code = g->codes[race->nearest];
            int64_t n = 0;
            for (int64_t i = 0; i < race->n; i++) {
                race->idx[n] = race->idx[i], race->totals[n] = race->totals[i];
                n += g->codes[race->idx[n]] == code;
            }
            race->n = n;
            told->reliable_at = level + 1;
            return;
        }
    }
}

/* -- one query ----------------------------------------------------------------------------------------------------- */

/* The k nearest of the rows in the race, the lowest id among equals. */
static void neighbours(const Race *race, int64_t k, int64_t *ids, double *distances) {
    int64_t filled = 0;
    for (int64_t i = 0; i < race->n && k; i++) {
        const double d = race->totals[i];
        if (filled == k && d >= distances[k - 1]) continue;
        int64_t at = filled < k ? filled++ : k - 1;
        for (; at > 0 && distances[at - 1] > d; at--) distances[at] = distances[at - 1], ids[at] = ids[at - 1];
        distances[at] = d, ids[at] = race->g->ids[race->idx[i]];
    }
    for (int64_t i = 0; i < filled; i++) distances[i] *= race->g->unit * race->g->unit;
    for (; filled < k; filled++) ids[filled] = -1, distances[filled] = INFINITY;
}

static int decide_one(Race *race, const float *x) {
    const Decider *g = race->g;
    Decided *told = race->told;
    memset(told, 0, sizeof *told);
    told->id = told->label = -1;
    told->distance = INFINITY;
    told->confidence = NAN;
    for (int j = 0; j < TOP; j++) told->nearest[j] = NAN;
    race->n = race->classes = race->projected = 0;
    race->energy = race->longest = 0;
    if (!prepare(race, x)) return 0;
    project(race, g->edges[g->lazy ? 1 : g->levels]);
    if (!g->alive) return 1;
    if (g->rule == MULTI_LEVEL)
        enter_some(race, race->thresholds[0]);
    else
        enter_all(race);
    memset(race->totals, 0, (size_t)race->n * sizeof *race->totals);
    if (g->rule == MULTI_LEVEL)
        narrow(race);
    else
        two_levels(race);
    if (g->defer && !told->reliable_at) told->label = -1;
    return 1;
}

#define ROOM(bytes) ((((int64_t)(bytes)) + 63) / 64 * 64)

/* Bytes of one of the vectors `prepared`, `z` and `spare`: all coordinates or dimensions, or codes with zeros behind. */
static int64_t vector_room(const Decider *g) { return ROOM(8 * (g->edges[g->levels] + g->dim + 16)); }

#ifndef WIDE
/* Bytes of scratch that one thread needs. */
int64_t lm_decide_scratch(const Decider *g) {
    return 3 * vector_room(g) + ROOM(8 * g->rows + 8) + ROOM(8 * g->classes) + ROOM(4 * g->rows + 4) +
           ROOM(4 * g->classes + 4);
}
#endif

int64_t lm_decide(const Decider *g, const double *thresholds, const float *queries, int64_t count, int64_t k,
                  char *scratch, Decided *told, int64_t *survivors, uint8_t *left, int64_t *ids, double *distances) {
    const int64_t bytes = (g->classes + 7) / 8;
    Race race = {.g = g, .thresholds = thresholds};
    race.prepared = (double *)scratch;
    race.z = (double *)(scratch += vector_room(g));
    race.spare = (double *)(scratch += vector_room(g));
    race.totals = (double *)(scratch += vector_room(g));
    race.minima = (double *)(scratch += ROOM(8 * g->rows + 8));
    race.idx = (int32_t *)(scratch += ROOM(8 * g->classes));
    race.left = (int32_t *)(scratch += ROOM(4 * g->rows + 4));
    memset(survivors, 0, (size_t)(count * g->levels) * sizeof *survivors);
    memset(left, 0, (size_t)(count * bytes));
    for (int64_t i = 0; i < count; i++) {
        race.told = told + i;
        race.survivors = survivors + i * g->levels;
        if (!decide_one(&race, queries + i * g->dim)) return i + 1;
        for (int64_t at = 0; at < race.n; at++) {
            const int32_t code = g->codes[race.idx[at]];
            left[i * bytes + code / 8] |= (uint8_t)(1 << code % 8);
        }
        neighbours(&race, k, ids + i * k, distances + i * k);
    }
    return 0;
}
