/* The doors of the library: the version for this processor, the scratch it needs, the layout it was compiled with. */
#include "granular.h"

int64_t lm_search(const Granules *g, const Ask *ask, const float *queries, int64_t count, char *scratch, int64_t *ids,
                  double *distances, Told *told) {
#ifdef WITH_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return lm_search_avx2(g, ask, queries, count, scratch, ids, distances, told);
#endif
    return lm_search_plain(g, ask, queries, count, scratch, ids, distances, told);
}

int64_t lm_layout(void) {
    return ((int64_t)sizeof(Granules) << 32) | (int64_t)(sizeof(Ask) << 16) | (int64_t)sizeof(Told);
}
