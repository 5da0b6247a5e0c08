/* Products of a query's int16 codes with rows of int8 codes, exact in integers; n is a multiple of 16. */
#ifndef LIGHTMETER_CODES_H
#define LIGHTMETER_CODES_H
#include <stdint.h>
#ifdef WIDE
#include <immintrin.h>
#endif

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
#endif
