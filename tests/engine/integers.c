/* Runs the compiled network on words and pixels from standard input, as fsrcnn/native/integer_forward.py does. */
#include <stdio.h>
#include <stdlib.h>

void run(void *lr, void *sr, void *weights, void *work, long lr_stride, long sr_stride, long width, long height,
         long first, long last, long left, long columns, long eight_bits, long full_range);

int main(int count, char **arguments) {
    long given[8];
    if (count != 9) return 2;
    for (int i = 0; i < 8; i++) given[i] = atol(arguments[i + 1]);
    long width = given[0], height = given[1], scale = given[2], columns = given[3], work_bytes = given[4];
    long words = given[5], eight_bits = given[6], full_range = given[7], pixel = eight_bits ? 1 : 2;
    void *weights = malloc(4 * words), *lr = malloc(width * height * pixel), *work = malloc(work_bytes);
    void *sr = malloc(width * height * scale * scale * pixel);
    if (fread(weights, 4, words, stdin) != words || fread(lr, pixel, width * height, stdin) != width * height) return 1;
    for (long left = 0; left < width; left += columns)
        run(lr, sr, weights, work, width * pixel, width * scale * pixel, width, height, 0, height, left, columns,
            eight_bits, full_range);
    return fwrite(sr, pixel * scale * scale, width * height, stdout) != width * height;
}
