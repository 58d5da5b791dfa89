/* The texts of durations and points in time. Pure. Durations are reckoned in 128-bit nanoseconds,
 * so that no form overflows before its bound is checked. */
#include "proto/time_text.h"

#include "sidecar/base/die.h"

#define NANOS_PER_SECOND 1000000000ll
#define DAY_SECONDS 86400

__extension__ typedef __int128 int128;

/* ---- Reading. ---- */

static bool split(int128 nanos, int64_t *seconds_r, int32_t *nanos_r)
{
    int128 bound = (int128)DURATION_SECONDS_MAX * NANOS_PER_SECOND;
    if (nanos > bound || nanos < -bound)
        return false;
    *seconds_r = (int64_t)(nanos / NANOS_PER_SECOND);
    *nanos_r = (int32_t)(nanos % NANOS_PER_SECOND);
    return true;
}

/* Takes digits off *rest. *count_r: how many; more than 18 are refused. */
static bool take_number(struct str *rest, int64_t *value_r, unsigned *count_r)
{
    int64_t value = 0;
    unsigned count = 0;
    for (; count < rest->n && rest->p[count] >= '0' && rest->p[count] <= '9'; count++) {
        if (count == 18)
            return false;
        value = 10 * value + (rest->p[count] - '0');
    }
    *rest = str_sub(*rest, count, rest->n);
    *value_r = value;
    *count_r = count;
    return true;
}

static bool take_char(struct str *rest, char c)
{
    if (rest->n == 0 || rest->p[0] != c)
        return false;
    *rest = str_sub(*rest, 1, rest->n);
    return true;
}

/* "12", "12.5", ".5" in units of unit nanoseconds. */
static bool take_decimal(struct str *rest, int64_t *whole_r, int64_t *fraction_r,
                         unsigned *fraction_digits_r)
{
    unsigned digits;
    *fraction_r = 0;
    *fraction_digits_r = 0;
    if (!take_number(rest, whole_r, &digits))
        return false;
    if (!take_char(rest, '.'))
        return digits > 0;
    return take_number(rest, fraction_r, fraction_digits_r) && digits + *fraction_digits_r > 0;
}

bool time_text_duration(struct str text, int64_t *seconds_r, int32_t *nanos_r)
{
    int64_t whole, fraction;
    unsigned digits;
    bool negative = take_char(&text, '-');
    if (text.n == 0 || text.p[0] == '.' || !take_decimal(&text, &whole, &fraction, &digits) ||
        digits > 9)
        return false;
    if (!str_eq_c(text, "s"))
        return false;
    for (; digits < 9; digits++)
        fraction *= 10;
    int128 nanos = (int128)whole * NANOS_PER_SECOND + fraction;
    return split(negative ? -nanos : nanos, seconds_r, nanos_r);
}

static int64_t take_unit(struct str *rest)
{
    static const struct {
        const char *text;
        int64_t nanos;
    } units[] = {
        {"ns", 1},
        {"us", 1000},
        {"\xc2\xb5s", 1000},
        {"\xce\xbcs", 1000},
        {"ms", 1000000},
        {"s", NANOS_PER_SECOND},
        {"m", 60 * NANOS_PER_SECOND},
        {"h", 3600 * NANOS_PER_SECOND},
    };
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        struct str unit = str_of(units[i].text);
        if (!str_has_prefix(*rest, unit))
            continue;
        *rest = str_sub(*rest, unit.n, rest->n);
        return units[i].nanos;
    }
    return 0;
}

bool time_text_go_duration(struct str text, int64_t *seconds_r, int32_t *nanos_r)
{
    bool negative = take_char(&text, '-');
    if (!negative)
        take_char(&text, '+');
    if (str_eq_c(text, "0"))
        return split(0, seconds_r, nanos_r);
    int128 nanos = 0;
    bool any = false;
    while (text.n > 0) {
        int64_t whole, fraction;
        unsigned digits;
        if (!take_decimal(&text, &whole, &fraction, &digits))
            return false;
        int64_t unit = take_unit(&text);
        if (unit == 0)
            return false;
        int128 scale = 1;
        for (; digits > 0; digits--)
            scale *= 10;
        nanos += (int128)whole * unit + (int128)fraction * unit / scale;
        if (!split(nanos, seconds_r, nanos_r))
            return false;
        any = true;
    }
    return any && split(negative ? -nanos : nanos, seconds_r, nanos_r);
}

/* Days from 1970-01-01 in the Gregorian calendar (years count from March, so that the leap day is
 * last). */
static int64_t days_of(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static unsigned month_days(int64_t year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_fixed(struct str *rest, unsigned digits, int64_t low, int64_t high,
                       int64_t *value_r)
{
    unsigned count;
    struct str field = str_sub(*rest, 0, digits);
    if (field.n < digits || !take_number(&field, value_r, &count) || count != digits)
        return false;
    *rest = str_sub(*rest, digits, rest->n);
    return *value_r >= low && *value_r <= high;
}

/* Takes "Z" or "+02:00". */
static bool take_offset(struct str *rest, int64_t *seconds_r)
{
    int64_t hours, minutes;
    *seconds_r = 0;
    if (take_char(rest, 'Z') || take_char(rest, 'z'))
        return true;
    bool west = take_char(rest, '-');
    if (!west && !take_char(rest, '+'))
        return false;
    if (!take_fixed(rest, 2, 0, 23, &hours) || !take_char(rest, ':') ||
        !take_fixed(rest, 2, 0, 59, &minutes))
        return false;
    *seconds_r = (hours * 60 + minutes) * (west ? -60 : 60);
    return true;
}

bool time_text_timestamp(struct str text, int64_t *seconds_r, int32_t *nanos_r)
{
    int64_t year, month, day, hour, minute, second, fraction = 0, offset;
    unsigned digits = 0;
    if (!take_fixed(&text, 4, 1, 9999, &year) || !take_char(&text, '-') ||
        !take_fixed(&text, 2, 1, 12, &month) || !take_char(&text, '-') ||
        !take_fixed(&text, 2, 1, month_days(year, (unsigned)month), &day))
        return false;
    if (!take_char(&text, 'T') && !take_char(&text, 't'))
        return false;
    if (!take_fixed(&text, 2, 0, 23, &hour) || !take_char(&text, ':') ||
        !take_fixed(&text, 2, 0, 59, &minute) || !take_char(&text, ':') ||
        !take_fixed(&text, 2, 0, 59, &second))
        return false;
    if (take_char(&text, '.') &&
        (!take_number(&text, &fraction, &digits) || digits == 0 || digits > 9))
        return false;
    if (!take_offset(&text, &offset) || text.n > 0)
        return false;
    for (; digits < 9; digits++)
        fraction *= 10;
    *seconds_r = days_of(year, (unsigned)month, (unsigned)day) * DAY_SECONDS + hour * 3600 +
                 minute * 60 + second - offset;
    *nanos_r = (int32_t)fraction;
    return true;
}

/* ---- Writing. ---- */

static void write_fraction(struct buf *out, int32_t nanos)
{
    if (nanos == 0)
        return;
    if (nanos % 1000000 == 0)
        buf_printf(out, ".%03d", nanos / 1000000);
    else if (nanos % 1000 == 0)
        buf_printf(out, ".%06d", nanos / 1000);
    else
        buf_printf(out, ".%09d", nanos);
}

void time_text_write_duration(struct buf *out, int64_t seconds, int32_t nanos)
{
    bool negative = seconds < 0 || nanos < 0;
    /* Unsigned, as a peer's seconds may be INT64_MIN. */
    uint64_t whole = seconds < 0 ? -(uint64_t)seconds : (uint64_t)seconds;
    int64_t fraction = nanos < 0 ? -(int64_t)nanos : nanos;
    buf_printf(out, "%s%llu", negative ? "-" : "", (unsigned long long)whole);
    write_fraction(out, (int32_t)(fraction % NANOS_PER_SECOND));
    buf_append_byte(out, 's');
}

void time_text_write_timestamp(struct buf *out, int64_t seconds, int32_t nanos)
{
    int64_t days = seconds / DAY_SECONDS, rest = seconds % DAY_SECONDS;
    if (rest < 0) {
        rest += DAY_SECONDS;
        days--;
    }
    /* The inverse of days_of. */
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    int64_t day = day_of_year - (153 * shifted + 2) / 5 + 1;
    int64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2);
    buf_printf(out, "%04lld-%02lld-%02lldT%02lld:%02lld:%02lld", (long long)year, (long long)month,
               (long long)day, (long long)(rest / 3600), (long long)(rest / 60 % 60),
               (long long)(rest % 60));
    write_fraction(out, nanos < 0 ? 0 : nanos % (int32_t)NANOS_PER_SECOND);
    buf_append_byte(out, 'Z');
}
