/* What the kernel of a whole time loop calls.

   All blocks are on the device at once, for all time steps. The rows of the batch are shared out among rows of blocks,
   which never meet, and the columns of every array among the blocks of such a row; these meet at a counter where one
   has to read what others have written. A block keeps its columns of the weights in shared memory. */

#define THREADS 256
#define MOST_ROWS 64 /* of a tile */

struct alignas(16) four { real of[4]; };

__device__ inline four four_at(const float *a)
{
    const float4 v = __ldcg((const float4 *)a);
    return {{v.x, v.y, v.z, v.w}};
}

__device__ inline four four_at(const double *a)
{
    const double2 v = __ldcg((const double2 *)a), w = __ldcg((const double2 *)(a + 2));
    return {{(real)v.x, (real)v.y, (real)w.x, (real)w.y}};
}

/* What a block works on: rows of the batch, and a part of the columns. */
struct Share {
    int first, rows, part, parts;
    unsigned *arrived, awaited;
};

/* The columns of some that repeat every `period`: of each period as many, `each`, from `first` on. */
struct Columns {
    int period, first, each, count;

    __device__ Columns(const Share &share, int width, int every)
    {
        period = every;
        first = (int)((long long)every * share.part / share.parts);
        each = (int)((long long)every * (share.part + 1) / share.parts) - first;
        count = each * (width / every);
    }

    __device__ int operator[](int k) const { return k / each * period + first + k % each; }
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 700
#define __nanosleep(TIME) /* there is none before compute capability 7.0 */
#endif

/* Wait until all blocks that share these rows have come here: what they wrote before can be read then. */
__device__ inline void meet(Share &share)
{
    __syncthreads();
    if (share.parts == 1) return;
    share.awaited += share.parts;
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(share.arrived, 1u);
        while ((int)(*(volatile unsigned *)share.arrived - share.awaited) < 0) __nanosleep(20); /* both may have wrapped */
        __threadfence();
    }
    __syncthreads();
}

/* From one row to the next in shared memory: an odd number of fours, so that neighbouring rows lie in other banks. */
__device__ inline int spaced(int length) { return 4 * ((length + 3) / 4 | 1); }

/* to[i][k] = from[row i][first + k], k < length; zeros behind, up to the next four. Several loads are on their way at
   once. A thread divides once, and then goes on by a step: a division costs more than a load. */
template <typename Rows>
__device__ inline void fetch(real *to, int count, const Rows &row, const real *from, long long step, int first, int length)
{
    if (length == 0) return;
    const int fours = (length + 3) / 4, space = spaced(length);
    const bool aligned = (step | first | length) % 4 == 0 && (unsigned long long)from % 16 == 0;
    const int down = THREADS / fours, right = THREADS % fours * 4;
    int i = threadIdx.x / fours, k = threadIdx.x % fours * 4;
    while (i < count) {
        four v[8];
        int at[8];
#pragma unroll
        for (int b = 0; b < 8; b++) {
            at[b] = i < count ? i * space + k : -1;
            if (at[b] < 0) continue;
            const real *const here = from + row(i) * step + first + k;
            if (aligned)
                v[b] = four_at(here);
            else
                for (int j = 0; j < 4; j++) v[b].of[j] = k + j < length ? __ldcg(here + j) : (real)0;
            i += down, k += right;
            if (k >= 4 * fours) k -= 4 * fours, i++;
        }
#pragma unroll
        for (int b = 0; b < 8; b++)
            if (at[b] >= 0) *(four *)(to + at[b]) = v[b];
    }
}

/* A block's columns of a weight (width, depth), in shared memory from now on. */
__device__ inline void keep(const Share &share, real *kept, const real *w, int width, int period, int depth)
{
    const Columns columns(share, width, period);
    fetch(kept, columns.count, [&](int i) { return (long long)columns[i]; }, w, depth, 0, depth);
}

/* out = start + a wᵀ for a block's rows and columns; a (., depth), w (width, depth), start may be null.

   kept: the columns of w in shared memory, or null: then they come in pieces, as the rows do.
   work: `room` entries of shared memory for rows, a power of two from 16 THREADS on; some for gaps; room for columns

   A thread has a tile of 4 rows by 4 columns, and where there are more threads than tiles, a slice of the sums, which
   are then added in order. */
__device__ inline void product(
    const Share &share, int width, int period, int depth, const real *a, long long from_row, const real *w,
    const real *kept, real *out, long long out_row, const real *start, long long start_row, real *work, int room)
{
    const Columns columns(share, width, period);
    real *const pieces = work + room + 4 * MOST_ROWS;
    for (int top = 0; top < share.rows; top += MOST_ROWS) {
        const int rows = min(share.rows - top, MOST_ROWS);
        int down = 1; /* tiles */
        while (4 * down < rows) down *= 2;
        for (int left = 0; left < columns.count; left += 4 * (THREADS / down)) {
            const int here = min(columns.count - left, 4 * (THREADS / down)), across = (here + 3) / 4;
            const int tiles = down * across;
            int slices = 1, longest = room / (4 * down);
            while (2 * slices * tiles <= THREADS) slices *= 2;
            while (!kept && longest > 4 && longest * here > room) longest /= 2;
            const int tile = threadIdx.x % tiles, slice = threadIdx.x / tiles, i = tile / across, j = tile % across;
            real sum[4][4] = {}, before[4][4] = {}; /* its part of start, loaded while the sums are made */
            if (start && slice == 0)
#pragma unroll
                for (int r = 0; r < 4; r++)
#pragma unroll
                    for (int c = 0; c < 4; c++)
                        if (i + r * down < rows && j + c * across < here)
                            before[r][c] =
                                start[(share.first + top + i + r * down) * start_row + columns[left + j + c * across]];
            for (int first = 0; first < depth; first += longest) {
                const int length = min(depth - first, longest), fours = (length + 3) / 4;
                __syncthreads(); /* what was here has been read */
                fetch(work, rows, [&](int r) { return (long long)(share.first + top + r); }, a, from_row, first, length);
                if (!kept) fetch(pieces, here, [&](int c) { return (long long)columns[left + c]; }, w, depth, first, length);
                __syncthreads();
                if (slice >= slices) continue;
                const int space = spaced(length), apart = kept ? spaced(depth) : space;
                const real *const weight = kept ? kept + left * apart + first : pieces;
                const four *x[4], *y[4];
                for (int r = 0; r < 4; r++) {
                    x[r] = (const four *)(work + min(i + r * down, rows - 1) * space);
                    y[r] = (const four *)(weight + min(j + r * across, here - 1) * apart);
                }
#pragma unroll 2
                for (int q = fours * slice / slices; q < fours * (slice + 1) / slices; q++) {
                    const four xs[4] = {x[0][q], x[1][q], x[2][q], x[3][q]}, ys[4] = {y[0][q], y[1][q], y[2][q], y[3][q]};
#pragma unroll
                    for (int r = 0; r < 4; r++)
#pragma unroll
                        for (int c = 0; c < 4; c++)
#pragma unroll
                            for (int k = 0; k < 4; k++) sum[r][c] += xs[r].of[k] * ys[c].of[k];
                }
            }
            __syncthreads();
            if (slice < slices)
                for (int r = 0; r < 4; r++)
                    for (int c = 0; c < 4; c++) work[(slice * 16 + 4 * r + c) * tiles + tile] = sum[r][c] + before[r][c];
            __syncthreads();
            for (int e = threadIdx.x; e < rows * here; e += THREADS) {
                const int r = e / here, c = e % here;
                const int which = 4 * (r / down) + c / across, from = r % down * across + c % across;
                const long long row = share.first + top + r;
                const int column = columns[left + c];
                real total = work[which * tiles + from];
                for (int s = 1; s < slices; s++) total += work[(s * 16 + which) * tiles + from];
                out[row * out_row + column] = total;
            }
        }
    }
}
