/* The doors of the library: the version for this processor, the scratch it needs, the layout it was compiled with. */
#include "granular.h"
#include "three_way.h"

#ifdef WITH_AVX2
#define WIDE_HERE (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#else
#define WIDE_HERE 0
#define lm_search_avx2 lm_search_plain
#define lm_decide_avx2 lm_decide_plain
#endif

int64_t lm_search(const Granules *g, const Ask *ask, const float *queries, int64_t count, char *scratch, int64_t *ids,
                  double *distances, Told *told) {
    Search *search = WIDE_HERE ? lm_search_avx2 : lm_search_plain;
    return search(g, ask, queries, count, scratch, ids, distances, told);
}

int64_t lm_decide(const Decider *g, const double *thresholds, const float *queries, int64_t count, int64_t k,
                  char *scratch, Decided *told, int64_t *survivors, uint8_t *left, int64_t *ids, double *distances) {
    Decide *decide = WIDE_HERE ? lm_decide_avx2 : lm_decide_plain;
    return decide(g, thresholds, queries, count, k, scratch, told, survivors, left, ids, distances);
}

/* Sizes of Granules, Ask, Told, Decider and Decided, 12 bits each. */
int64_t lm_layout(void) {
    const int64_t sizes[] = {sizeof(Granules), sizeof(Ask), sizeof(Told), sizeof(Decider), sizeof(Decided)};
    int64_t packed = 0;
    for (int i = 0; i < 5; i++) packed = packed << 12 | sizes[i];
    return packed;
}
