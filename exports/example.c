/* Enlarges raw frames of luma from standard input to standard output: 8 bits, or 32-bit floats with a third argument.

       cc -O2 -fopenmp example.c fsrcnn_x2-native.o -o enlarge
       ffmpeg -i film.mp4 -f rawvideo -pix_fmt gray - | ./enlarge 640 360 > film.gray */

#include <stdio.h>
#include <stdlib.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

#include "fsrcnn_x2.h"

int main(int argc, char **argv)
{
    if (argc < 3 || atoi(argv[1]) < 1 || atoi(argv[2]) < 1) {
        fprintf(stderr, "usage: enlarge WIDTH HEIGHT [float]\n");
        return 2;
    }
    const int width = atoi(argv[1]), height = atoi(argv[2]), scale = fsrcnn_x2_upscale_factor();
    const size_t pixel = argc > 3 ? sizeof(float) : sizeof(uint8_t);
    const size_t lr_stride = width * pixel, sr_stride = scale * lr_stride;
    const size_t lr_size = height * lr_stride, sr_size = scale * height * sr_stride;
    const int strips = height < 4 ? 1 : 4; /* of rows: threads share them */
    const size_t work_size = fsrcnn_x2_work_size(width);
    void *lr = malloc(lr_size), *sr = malloc(sr_size);
    char *work = malloc(strips * work_size);
    if (!lr || !sr || !work) {
        fprintf(stderr, "error: not enough memory for %d x %d\n", width, height);
        return 1;
    }
#ifdef _WIN32
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
#endif
    while (fread(lr, 1, lr_size, stdin) == lr_size) {
#pragma omp parallel for
        for (int i = 0; i < strips; i++) {
            const int first = height * i / strips, last = height * (i + 1) / strips;
            if (argc > 3)
                fsrcnn_x2_float(lr, lr_stride, sr, sr_stride, width, height, first, last, 0, work + i * work_size);
            else
                fsrcnn_x2_uint8(lr, lr_stride, sr, sr_stride, width, height, first, last, 0, work + i * work_size);
        }
        if (fwrite(sr, 1, sr_size, stdout) != sr_size)
            return 1;
    }
    return 0;
}
