/* The system's clocks. Policy code takes time as an argument instead of calling these. */
#ifndef OUTRIGGER_BASE_CLOCK_H
#define OUTRIGGER_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ns(void);
uint64_t clock_wall_us(void); /* since 1970 */
/* RFC 3339 in UTC with milliseconds, "2026-11-21T09:52:11.123Z"; cap at least 25. Returns text. */
char *clock_format_rfc3339(uint64_t wall_us, char *text, size_t cap);

#endif
