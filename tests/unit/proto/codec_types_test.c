/* The table of message types. */
#include "proto/bootstrap.pb-c.h"
#include "proto/codec.h"
#include "proto/discovery.pb-c.h"
#include "proto/hcm.pb-c.h"
#include "proto/istio_networking.pb-c.h"
#include "proto/k8s_core.pb-c.h"
#include "proto/types.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static void every_type_is_found_by_its_own_name(void **state)
{
    (void)state;
    assert_true(codec_type_count > 300);
    for (unsigned i = 0; i < codec_type_count; i++)
        assert_ptr_equal(codec_find_type(str_of(codec_types[i]->name)), codec_types[i]);
}

static void the_table_is_sorted_and_has_no_doubles(void **state)
{
    (void)state;
    for (unsigned i = 1; i < codec_type_count; i++)
        assert_true(strcmp(codec_types[i - 1]->name, codec_types[i]->name) < 0);
}

static void names_and_urls(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const ProtobufCMessageDescriptor *want;
    } cases[] = {
        {"envoy.config.bootstrap.v3.Bootstrap",
         &envoy__config__bootstrap__v3__bootstrap__descriptor},
        {"type.googleapis.com/envoy.service.discovery.v3.DiscoveryRequest",
         &envoy__service__discovery__v3__discovery_request__descriptor},
        {"a/b/istio.networking.v1alpha3.VirtualService",
         &istio__networking__v1alpha3__virtual_service__descriptor},
        {"k8s.io.api.core.v1.Pod", &k8s__io__api__core__v1__pod__descriptor},
        {"envoy.config.bootstrap.v3.Bootstra", NULL},
        {"envoy.config.bootstrap.v3.Bootstrapp", NULL},
        {"type.googleapis.com/", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_ptr_equal(codec_find_type(str_of(cases[i].text)), cases[i].want);
    assert_null(codec_find_type(STR_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_found_by_its_own_name),
        cmocka_unit_test(the_table_is_sorted_and_has_no_doubles),
        cmocka_unit_test(names_and_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
