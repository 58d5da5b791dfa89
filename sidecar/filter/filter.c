/* The one table of HTTP filters. Constant; any thread. */
#include "sidecar/filter/filter.h"

#include "sidecar/base/die.h"
#include "sidecar/filter/cors.h"
#include "sidecar/filter/fault.h"
#include "sidecar/filter/router.h"

static const struct filter_vtable *const filters[] = {
    &filter_router,
    &filter_fault,
    &filter_cors,
};

unsigned filter_count(void)
{
    return ARRAY_LEN(filters);
}

unsigned filter_index(const struct filter_vtable *f)
{
    for (unsigned i = 0; i < ARRAY_LEN(filters); i++)
        if (filters[i] == f)
            return i;
    die("filter %s is not in the table", f->name);
}

const struct filter_vtable *filter_find_by_config(struct str type_name)
{
    for (unsigned i = 0; i < ARRAY_LEN(filters); i++)
        if (str_eq_c(type_name, filters[i]->config->name))
            return filters[i];
    return NULL;
}

const struct filter_vtable *filter_find_by_name(struct str name)
{
    for (unsigned i = 0; i < ARRAY_LEN(filters); i++)
        if (str_eq_c(name, filters[i]->name))
            return filters[i];
    return NULL;
}

void filter_instance_fini(struct filter_instance_cfg *f)
{
    if (f->filter->free_config && f->config)
        f->filter->free_config(f->config);
    f->config = NULL;
}
