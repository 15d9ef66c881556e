/* Calls a network's functions with every buffer between two pages that may not be touched. */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "network.h"

enum { GAP = 3, MARK = 0x5a };

static size_t page;

/* So many bytes that end at a forbidden page, or begin after one. */
static char *guarded(size_t size, int at_end)
{
    const size_t whole = (size + page - 1) / page * page;
    char *start = mmap(NULL, whole + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mprotect(start + page, whole, PROT_READ | PROT_WRITE))
        exit(3);
    memset(start + page, MARK, whole);
    return start + page + (at_end ? whole - size : 0);
}

/* Enlarges noise in two strips; returns the result, whose rows have gaps between them. */
static char *enlarged(int width, int height, int eight_bits, int at_end)
{
    const int scale = network_upscale_factor(), middle = height / 2, pixel = eight_bits ? 1 : 4;
    const size_t lr_stride = (width + GAP) * pixel, sr_stride = (scale * width + GAP) * pixel;
    const size_t lr_size = height * lr_stride - GAP * pixel, sr_size = scale * height * sr_stride - GAP * pixel;
    char *lr = guarded(lr_size, at_end), *sr = guarded(sr_size, at_end);
    srand(width + height);
    for (size_t i = 0; i < lr_size / pixel; i++) {
        if (eight_bits)
            lr[i] = rand();
        else
            ((float *)lr)[i] = rand() / (float)RAND_MAX;
    }
    for (int strip = 0; strip < 2; strip++) {
        const int first = strip ? middle : 0, last = strip ? height : middle;
        void *work = guarded(network_work_size(width), at_end);
        if (eight_bits)
            network_uint8((uint8_t *)lr, lr_stride, (uint8_t *)sr, sr_stride, width, height, first, last, 1, work);
        else
            network_float((float *)lr, lr_stride, (float *)sr, sr_stride, width, height, first, last, 0, work);
    }
    for (int row = 1; row < scale * height; row++)
        for (int i = 1; i <= GAP * pixel; i++)
            if (sr[row * sr_stride - i] != MARK)
                exit(4);
    char *copy = malloc(sr_size);
    return memcpy(copy, sr, sr_size);
}

int main(void)
{
    static const int sizes[][2] = {{1, 1}, {2, 1}, {1, 2}, {3, 5}, {15, 4}, {16, 2}, {17, 9}, {33, 3}, {401, 2}};
    page = sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int eight_bits = 0; eight_bits < 2; eight_bits++) {
            const int width = sizes[i][0], height = sizes[i][1], scale = network_upscale_factor();
            char *one = enlarged(width, height, eight_bits, 0), *other = enlarged(width, height, eight_bits, 1);
            const size_t pixels = scale * height * (scale * width + GAP) - GAP;
            if (memcmp(one, other, pixels * (eight_bits ? 1 : 4))) /* whatever lies around the buffers */
                return 5;
            free(one);
            free(other);
        }
    puts("nothing else was touched");
    return 0;
}
