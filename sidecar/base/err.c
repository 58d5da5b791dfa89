/* Text only; longer messages are cut at the end, never overrun. Any thread. */
#include "sidecar/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool err_set(struct err *e, const char *fmt, ...)
{
    if (e->set)
        return false;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    e->set = true;
    return false;
}

bool err_prefix(struct err *e, const char *fmt, ...)
{
    char prefix[256], text[sizeof(e->text)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof(prefix), fmt, ap);
    va_end(ap);
    memcpy(text, e->text, sizeof(text));
    int n = snprintf(e->text, sizeof(e->text), "%s: ", prefix);
    snprintf(e->text + n, sizeof(e->text) - (size_t)n, "%s", text);
    return false;
}
