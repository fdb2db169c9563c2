/* What the CUDA kernels of the library do with the rows of matrices of REAL. All blocks have 256 threads.

   y[numbers[i]] += rows[i], in the order of the numbers: a stable sort puts rows that are added to one row of y side
   by side, a *run*. Pieces of `length` sorted rows have a thread for each column, which adds them up in double. A run
   that lies in one piece is added to y at once. Of one that goes on beyond, every piece keeps its part: its `tail`
   where it begins, its `head` where it comes from the piece before. A second kernel adds these.

   So the order of a sum, and with it every bit, depends on nothing but the numbers; nothing is added by atomics, and
   what is NaN stays in its row. */

/* A number out of range counts from the other end, or anew, as CuPy's own indices do. */
__device__ inline long long wrapped(long long number, long long size)
{
    if (number >= 0 && number < size) return number;
    const long long rest = number % size;
    return rest < 0 ? rest + size : rest;
}

/* Where each number comes when they are sorted, equal ones as they came: as far as there are that come before it.
   A block finds it for 32 of them; each of its 8 rows of threads compares them with an eighth of all. */
struct sort_few_arguments { const long long *numbers; long long *order, *sorted; long long count, size; };

extern "C" __global__ void sort_few(sort_few_arguments given)
{
    __shared__ long long others[256];
    __shared__ unsigned places[256];
    const long long count = given.count, size = given.size;
    const unsigned me = threadIdx.y * 32 + threadIdx.x;
    const long long i = blockIdx.x * 32ll + threadIdx.x;
    const long long mine = i < count ? wrapped(given.numbers[i], size) : 0;
    unsigned place = 0;
    for (long long start = 0; start < count; start += 256) {
        __syncthreads(); /* the ones before have been read */
        if (start + me < count) others[me] = wrapped(given.numbers[start + me], size);
        __syncthreads();
        const long long first = start + threadIdx.y * 32;
        const int there = first >= count ? 0 : count - first < 32 ? (int)(count - first) : 32;
        for (int k = 0; k < there; k++) {
            const long long other = others[threadIdx.y * 32 + k];
            place += other < mine || (other == mine && first + k < i);
        }
    }
    places[me] = place;
    __syncthreads();
    if (threadIdx.y != 0 || i >= count) return;
    for (unsigned row = 1; row < 8; row++)
        place += places[row * 32 + threadIdx.x];
    given.order[place] = i;
    given.sorted[place] = mine;
}

/* Rows (count, width), whose entries lie row_step and column_step bytes apart; y is in C order. A block does some
   columns of some pieces, as its threads are laid out; blocks that are neighbours do neighbouring columns. */
struct add_pieces_arguments {
    const long long *order, *sorted;
    const char *rows;
    REAL *y;
    double *heads, *tails; /* (pieces, width) each */
    long long count, width, row_step, column_step, length, across; /* across: blocks side by side */
};

extern "C" __global__ void add_pieces(add_pieces_arguments given)
{
    const long long column = blockIdx.x % given.across * blockDim.x + threadIdx.x;
    const long long piece = blockIdx.x / given.across * blockDim.y + threadIdx.y;
    const long long first = piece * given.length, width = given.width;
    if (first >= given.count || column >= width) return;
    const long long last = first + given.length < given.count ? first + given.length : given.count;
    const long long *const sorted = given.sorted;
    const char *const rows = given.rows + column * given.column_step;
    long long number = sorted[first];
    bool has_begun_before = first > 0 && sorted[first - 1] == number;
    double sum = 0;
    for (long long start = first; start < last; start += 8) {
        long long numbers[8];
        REAL values[8]; /* which are under way together */
#pragma unroll
        for (int k = 0; k < 8; k++) {
            const long long at = start + k < last ? start + k : last - 1;
            numbers[k] = sorted[at];
            values[k] = *(const REAL *)(rows + given.order[at] * given.row_step);
        }
#pragma unroll
        for (int k = 0; k < 8; k++) {
            if (start + k >= last) break;
            if (numbers[k] != number) {
                if (has_begun_before)
                    given.heads[piece * width + column] = sum;
                else
                    given.y[number * width + column] += (REAL)sum;
                number = numbers[k], has_begun_before = false, sum = 0;
            }
            sum += values[k];
        }
    }
    if (has_begun_before)
        given.heads[piece * width + column] = sum;
    else if (last < given.count && sorted[last] == number)
        given.tails[piece * width + column] = sum;
    else
        given.y[number * width + column] += (REAL)sum;
}

/* Runs that go on beyond the piece in which they begin: a block adds some columns of one, its tail and then its heads,
   shared out among its rows of threads. */
extern "C" __global__ void join_pieces(add_pieces_arguments given)
{
    const long long column = blockIdx.x % given.across * blockDim.x + threadIdx.x;
    const long long piece = blockIdx.x / given.across;
    const long long first = piece * given.length, last = first + given.length, width = given.width;
    const long long *const sorted = given.sorted;
    if (last >= given.count) return;
    const long long number = sorted[last - 1];
    if (sorted[last] != number || (first > 0 && sorted[first - 1] == number)) return;
    double sum = 0;
    if (column < width) {
        if (threadIdx.y == 0) sum = given.tails[piece * width + column];
        for (long long of = piece + 1 + threadIdx.y; of * given.length < given.count; of += blockDim.y) {
            if (sorted[of * given.length] != number) break;
            sum += given.heads[of * width + column];
        }
    }
    sum = sum_of_column(sum, threadIdx.x, threadIdx.y, blockDim.y);
    if (threadIdx.y == 0 && column < width) given.y[number * width + column] += (REAL)sum;
}

/* The largest of a column of a block, for all of its threads; laid out as for sum_of_column. NaN does not count. */
__device__ inline REAL largest_of_column(REAL mine, unsigned column, unsigned row, unsigned rows)
{
    __shared__ REAL largest[256];
    const unsigned here = column * rows + row;
    largest[here] = mine;
    for (unsigned half = rows / 2; half > 0; half /= 2) {
        __syncthreads();
        if (row < half && largest[here + half] > largest[here]) largest[here] = largest[here + half];
    }
    __syncthreads();
    return largest[column * rows];
}

/* log of the sum of e^x over a row, the largest taken out first, for all `threads` threads that share it. They sum in
   double. */
__device__ inline REAL log_sum_of_row(const REAL *x, long long width, unsigned row, unsigned thread, unsigned threads)
{
    __shared__ REAL found[256];
    REAL largest = -INFINITY;
    for (long long j = thread; j < width; j += threads)
        largest = x[j] > largest ? x[j] : largest;
    largest = largest_of_column(largest, row, thread, threads);
    largest = fabs(largest) < INFINITY ? largest : 0; /* an infinity would be taken from itself */
    double sum = 0;
    for (long long j = thread; j < width; j += threads)
        sum += exp(x[j] - largest);
    sum = sum_of_column(sum, row, thread, threads);
    if (thread == 0) found[row] = (REAL)(log(sum) + largest);
    __syncthreads();
    return found[row];
}

/* Rows of x (count, width) in C order, blockDim.y of them in a block. Where there are classes, one for each row; g, one
   for each row too, lie g_step bytes apart. */
struct by_row_arguments {
    const REAL *x;
    REAL *y;
    const long long *classes;
    const char *g;
    long long g_step, count, width;
};

#define BY_ROW                                                                                                         \
    const unsigned thread = threadIdx.x, row = threadIdx.y, threads = blockDim.x;                                      \
    const long long i = (long long)blockIdx.x * blockDim.y + row, width = i < given.count ? given.width : 0;           \
    const REAL *const x = given.x + i * width;                                                                         \
    const REAL log_sum = log_sum_of_row(x, width, row, thread, threads);                                               \
    if (i >= given.count) return;

/* y (count): the sums' logarithms */
extern "C" __global__ void logsumexp(by_row_arguments given)
{
    BY_ROW
    if (thread == 0) given.y[i] = log_sum;
}

/* y (count): less the entry at the class */
extern "C" __global__ void surprisal(by_row_arguments given)
{
    BY_ROW
    if (thread == 0) given.y[i] = log_sum - x[wrapped(given.classes[i], width)];
}

/* y (count, width): its gradient, g (e^(x - log of the sum) - 1 at the class) */
extern "C" __global__ void surprisal_gradient(by_row_arguments given)
{
    BY_ROW
    const REAL g = *(const REAL *)(given.g + i * given.g_step);
    const long long at = wrapped(given.classes[i], width);
    const REAL less = log_sum == -INFINITY ? 0 : log_sum;
    for (long long j = thread; j < width; j += threads)
        given.y[i * width + j] = g * exp(x[j] - less) - (j == at ? g : 0);
}

#undef BY_ROW
