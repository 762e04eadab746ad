/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* common/parse.h: what is a number and what is not, to the last bit. */
#include "tests/unit/cmocka-all.h"

#include <errno.h>

#include "common/cleanup.h"
#include "common/parse.h"

struct sample {
    const char *text;
    int result;
    uint64_t value; /* with result 0 */
};

static const struct sample numbers[] = {
    { "0", 0, 0 },
    { "7", 0, 7 },
    { "007", 0, 7 },
    { "4294967296", 0, UINT64_C(4294967296) },
    { "18446744073709551615", 0, UINT64_MAX },
    { "18446744073709551616", -ERANGE, 0 },
    { "99999999999999999999999999", -ERANGE, 0 },
    { "", -EINVAL, 0 },
    { " 7", -EINVAL, 0 },
    { "7 ", -EINVAL, 0 },
    { "\t7", -EINVAL, 0 },
    { "7\n", -EINVAL, 0 },
    { "+7", -EINVAL, 0 },
    { "-7", -EINVAL, 0 },
    { "-0", -EINVAL, 0 },
    { "0x10", -EINVAL, 0 },
    { "7K", -EINVAL, 0 },
    { "7.0", -EINVAL, 0 },
    { "1e3", -EINVAL, 0 },
    { "1 2", -EINVAL, 0 },
    { "1,000", -EINVAL, 0 },
    { "seven", -EINVAL, 0 },
    { "\xb2", -EINVAL, 0 },
};

static void number_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uint64_t value = 77;
        int r = parse_number(numbers[i].text, 0, UINT64_MAX, &value);

        if (r != numbers[i].result)
            fail_msg("'%s': %d", numbers[i].text, r);
        assert_int_equal(value, r == 0 ? numbers[i].value : 77);
    }
}

static void number_bounds(void **state)
{
    uint64_t value = 77;

    (void)state;
    assert_int_equal(parse_number("9", 10, 20, &value), -ERANGE);
    assert_int_equal(parse_number("21", 10, 20, &value), -ERANGE);
    assert_int_equal(parse_number("0", 1, UINT64_MAX, &value), -ERANGE);
    assert_int_equal(value, 77);
    assert_int_equal(parse_number("10", 10, 20, &value), 0);
    assert_int_equal(value, 10);
    assert_int_equal(parse_number("20", 10, 20, &value), 0);
    assert_int_equal(value, 20);
    assert_int_equal(parse_number("18446744073709551615", UINT64_MAX, UINT64_MAX, &value), 0);
    assert_int_equal(value, UINT64_MAX);
}

#define KIB UINT64_C(1024)

static const struct sample sizes[] = {
    { "0", 0, 0 },
    { "4096", 0, 4096 },
    { "0T", 0, 0 },
    { "1K", 0, KIB },
    { "1k", 0, KIB },
    { "3M", 0, 3 * KIB *KIB },
    { "3m", 0, 3 * KIB *KIB },
    { "2G", 0, 2 * KIB *KIB *KIB },
    { "2g", 0, 2 * KIB *KIB *KIB },
    { "5T", 0, 5 * KIB *KIB *KIB *KIB },
    { "5t", 0, 5 * KIB *KIB *KIB *KIB },
    { "9B", 0, 9 },
    { "9b", 0, 9 },
    { "9KB", 0, 9 * KIB },
    { "9kb", 0, 9 * KIB },
    { "9KiB", 0, 9 * KIB },
    { "9kib", 0, 9 * KIB },
    { "9GiB", 0, 9 * KIB *KIB *KIB },
    { "9TIB", 0, 9 * KIB *KIB *KIB *KIB },
    { "18446744073709551615", 0, UINT64_MAX },
    { "18014398509481983K", 0, UINT64_C(18014398509481983) * KIB },
    { "18014398509481984K", -ERANGE, 0 },
    { "16777215T", 0, UINT64_C(16777215) << 40 },
    { "16777216T", -ERANGE, 0 },
    { "18446744073709551616", -ERANGE, 0 },
    { "18446744073709551616K", -ERANGE, 0 },
    { "", -EINVAL, 0 },
    { "K", -EINVAL, 0 },
    { "B", -EINVAL, 0 },
    { "iB", -EINVAL, 0 },
    { "9iB", -EINVAL, 0 },
    { "9Ki", -EINVAL, 0 },
    { "9i", -EINVAL, 0 },
    { "9 K", -EINVAL, 0 },
    { "9K ", -EINVAL, 0 },
    { " 9K", -EINVAL, 0 },
    { "+9K", -EINVAL, 0 },
    { "-9K", -EINVAL, 0 },
    { "9P", -EINVAL, 0 },
    { "9KK", -EINVAL, 0 },
    { "9KBB", -EINVAL, 0 },
    { "9KiBB", -EINVAL, 0 },
    { "9BB", -EINVAL, 0 },
    { "9BK", -EINVAL, 0 },
    { "1.5G", -EINVAL, 0 },
    { "0x1K", -EINVAL, 0 },
    { "9\xb5", -EINVAL, 0 },
};

static void size_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t value = 77;
        int r = parse_size(sizes[i].text, &value);

        if (r != sizes[i].result)
            fail_msg("'%s': %d", sizes[i].text, r);
        if (r == 0)
            assert_int_equal(value, sizes[i].value);
    }
}

static void mode_forms(void **state)
{
    static const struct sample modes[] = {
        { "0", 0, 0 },           { "0640", 0, 0640 },    { "666", 0, 0666 },
        { "0000660", 0, 0660 },  { "667", -ERANGE, 0 },  { "777777777777777777777777", -ERANGE, 0 },
        { "", -EINVAL, 0 },      { "8", -EINVAL, 0 },    { "068", -EINVAL, 0 },
        { "-1", -EINVAL, 0 },    { "+600", -EINVAL, 0 }, { " 600", -EINVAL, 0 },
        { "0x1ff", -EINVAL, 0 }, { "rw-", -EINVAL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        uint32_t value = 77;

        assert_int_equal(parse_mode(modes[i].text, 0666, &value), modes[i].result);
        assert_int_equal(value, modes[i].result < 0 ? 77 : modes[i].value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_forms),
        cmocka_unit_test(number_bounds),
        cmocka_unit_test(mode_forms),
        cmocka_unit_test(size_forms),
    };

    return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
