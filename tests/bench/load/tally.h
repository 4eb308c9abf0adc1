/*
 * The client's numbers: durations kept one by one, so that percentiles are exact, and printed as JSON.
 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include "wire.h"

/* 16 MB a tally. A run that fills it goes on, but counts the rest only: say so in "unrecorded". */
#define MOST_DURATIONS (4u << 20)

struct tally {
	const char *name;
	uint32_t *durations_ns; /* up to 4.29 s; what took longer is kept as that */
	uint32_t count;
	uint64_t unrecorded;
};

static inline struct tally new_tally(const char *name)
{
	struct tally tally = {.name = name, .durations_ns = malloc(MOST_DURATIONS * sizeof(uint32_t))};

	must(tally.durations_ns != NULL, "malloc");
	return tally;
}

static inline void record(struct tally *tally, uint64_t duration_ns)
{
	if (tally->count == MOST_DURATIONS)
		tally->unrecorded++;
	else
		tally->durations_ns[tally->count++] = duration_ns > UINT32_MAX ? UINT32_MAX : duration_ns;
}

static inline int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Nearest rank: the smallest duration that at least this share does not exceed. */
static inline double rank_us(const struct tally *tally, unsigned thousandths)
{
	uint64_t rank = ((uint64_t)tally->count * thousandths + 999) / 1000;

	return tally->count ? tally->durations_ns[rank ? rank - 1 : 0] / 1000.0 : 0;
}

static inline void print_tally(struct tally *tally)
{
	qsort(tally->durations_ns, tally->count, sizeof(uint32_t), by_size);
	printf(", \"%s_p50_us\": %.1f, \"%s_p99_us\": %.1f, \"%s_max_us\": %.1f", tally->name,
	       rank_us(tally, 500), tally->name, rank_us(tally, 990), tally->name, rank_us(tally, 1000));
	if (tally->unrecorded)
		printf(", \"%s_unrecorded\": %lu", tally->name, (unsigned long)tally->unrecorded);
}

#endif
