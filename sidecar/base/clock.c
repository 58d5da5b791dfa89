/* Reads the kernel's clocks; no state. Any thread. */
#include "sidecar/base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

uint64_t clock_mono_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_wall_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000;
}

char *clock_format_rfc3339(uint64_t wall_us, char *text, size_t cap)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    assert(cap >= 25);
    gmtime_r(&seconds, &tm);
    size_t n = strftime(text, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, cap - n, ".%03uZ", (unsigned)(wall_us / 1000 % 1000));
    return text;
}
