/* How much the host took from this virtual machine. */
#ifndef BENCH_STOLEN_H
#define BENCH_STOLEN_H

#include <stdint.h>

/* Make ready to read. 1 if it is exact, 0 if it comes in ticks of /proc/stat. */
int open_stolen(void);

/* Microseconds since some moment, all cores together. Only differences say something. */
uint64_t stolen_us(void);

#endif
