/* Who touches which memory, and when: the second half of cuda_on_cpu.cpp.

   The compiler has every thread report what it reads and writes (-fsanitize=thread, whose functions these are). Memory
   must be an array that the host has asked the address of, the block's own, or the kernel's. And of two threads that
   touch the same word, one of which writes, one must know that the other is done: a barrier or a meeting of the warp
   came between, or it has seen a number that the other wrote after a fence, and came past a fence of its own. Else it
   is a race, in whatever order they ran. */

struct Access { unsigned thread, barriers, meetings, event; };
struct Word {
    Address key;
    unsigned launch;
    bool is_atomic; /* what was written last */
    Access written;
    Access read[2][2]; /* plainly and by atomic functions, each by two threads: one that writes differs from one */
};

/* Arrays ---------------------------------------------------------------------------------------- */

static std::map<Address, Address> arrays; /* from the first byte to the one after the last */
static Address seen_first, seen_last;     /* the one that was touched last */
static Address library_first, library_last;

static void drop(Address first, Address last)
{
    auto found = arrays.lower_bound(first);
    if (found != arrays.begin() && std::prev(found)->second > first) --found;
    while (found != arrays.end() && found->first < last) found = arrays.erase(found);
    seen_first = seen_last = 0;
}

/* A host may know its address from now on; what was there before is no longer. */
extern "C" void allow(Address first, Address last)
{
    drop(first, last);
    arrays[first] = last;
}

static void watch_library(const dl_phdr_info *library)
{
    library_first = ~(Address)0, library_last = 0, library_base = library->dlpi_addr;
    for (int k = 0; k < library->dlpi_phnum; k++) {
        const auto &part = library->dlpi_phdr[k];
        if (part.p_type != PT_LOAD) continue;
        library_first = std::min(library_first, library->dlpi_addr + part.p_vaddr);
        library_last = std::max(library_last, library->dlpi_addr + part.p_vaddr + part.p_memsz);
    }
}

static bool is_in(Address p, const void *first, size_t size) { return p - (Address)first < size; }

static bool is_in_an_array(Address p, size_t size)
{
    if (p >= seen_first && p + size <= seen_last) return true;
    auto after = arrays.upper_bound(p);
    if (after == arrays.begin() || std::prev(after)->second < p + size) return false;
    seen_first = std::prev(after)->first, seen_last = std::prev(after)->second;
    return true;
}

/* Knowledge ------------------------------------------------------------------------------------- */

static std::unordered_map<Address, Known> signals; /* numbers that tell when, with what who sees them knows */

static unsigned block_of(unsigned thread_number)
{
    return (thread_number - 1) / (blockDim.x * blockDim.y * blockDim.z);
}

static void raise(unsigned &x, unsigned to) { x = std::max(x, to); }

static void learn(Known &known, const Known &more)
{
    for (auto [who, barriers] : more.blocks) raise(known.blocks[who], barriers);
    for (auto [who, until] : more.threads) raise(known.threads[who], until);
}

static bool knows(const Known &known, const Access &access)
{
    if (known.nothing()) return false;
    const auto found = known.blocks.find(block_of(access.thread)), mine = known.threads.find(access.thread);
    return (found != known.blocks.end() && access.barriers < found->second) ||
           (mine != known.threads.end() && access.event <= mine->second);
}

/* A barrier: what one knew, all know. */
static void tell_block(Block *b)
{
    b->barriers++;
    for (unsigned t = 0; t < blockDim.x * blockDim.y * blockDim.z; t++) {
        Thread *mine = b->threads[t].get();
        if (mine->known.nothing()) continue;
        learn(b->known, mine->known);
        mine->known = {};
    }
}

static bool is_done(const Access &access, bool is_shared)
{
    if (!access.thread || access.thread == thread->number) return true;
    if (block_of(access.thread) != block->number) {
        if (is_shared) return true; /* that block has ended */
    } else {
        if (access.barriers < block->barriers) return true;
        const unsigned other = (access.thread - 1) % (blockDim.x * blockDim.y * blockDim.z);
        if (other / LANES == number / LANES && access.meetings < block->warps[number / LANES].meetings) return true;
    }
    return knows(block->known, access) || knows(thread->known, access);
}

/* Words ----------------------------------------------------------------------------------------- */

static std::vector<Word> words(1 << 12);
static size_t used;
static unsigned launches;

static void forget_accesses()
{
    launches++, used = 0, event = 0;
    signals.clear();
}

static Word &find(Address key)
{
    size_t at = key * 0x9e3779b97f4a7c15u >> 20 & (words.size() - 1);
    while (words[at].launch == launches && words[at].key != key) at = (at + 1) & (words.size() - 1);
    return words[at];
}

static Word &word_of(Address key)
{
    Word &found = find(key);
    if (found.launch == launches) return found;
    if (2 * ++used > words.size()) {
        std::vector<Word> before(2 * words.size());
        before.swap(words);
        for (const Word &word : before)
            if (word.launch == launches) find(word.key) = word;
        used--;
        return word_of(key);
    }
    found = {key, launches, false, {}, {}};
    return found;
}

[[noreturn]] static void race(const char *now, const char *before, const Access &other, bool is_shared)
{
    const unsigned count = blockDim.x * blockDim.y * blockDim.z;
    const dim3 b = index_of(block_of(other.thread), gridDim), t = index_of((other.thread - 1) % count, blockDim);
    fail("a race: it %s %s memory that thread (%u, %u, %u) of block (%u, %u, %u) %s, "
         "and nothing says that this was before",
         now, is_shared ? "shared" : "global", t.x, t.y, t.z, b.x, b.y, b.z, before);
}

static void touch(Address p, size_t size, bool writes, bool is_atomic)
{
    if (!thread || is_in(p, thread->stack, STACK) || is_in(p, &parameters, sizeof parameters)) return;
    const bool is_dynamic = is_in(p, dynamic_shared, sizeof dynamic_shared);
    const bool is_shared = is_dynamic || is_in(p, shared, shared_size);
    if (is_dynamic && p + size > (Address)dynamic_shared + dynamic_size)
        fail("byte %zu of dynamic shared memory is %s, which has %zu", p - (Address)dynamic_shared,
             writes ? "written" : "read", dynamic_size);
    if (!is_shared && !is_in(p, (void *)library_first, library_last - library_first) && !is_in_an_array(p, size))
        fail("%zu bytes that are in no array are %s", size, writes ? "written" : "read");
    const Access mine = {thread->number, block->barriers, block->warps[number / LANES].meetings, ++event};
    for (Address at = p; at < p + size; at += 4) {
        Word &word = word_of(is_shared ? at + ((Address)(block->slot + 1) << 48) : at);
        if (!is_done(word.written, is_shared) && !(is_atomic && word.is_atomic))
            race(writes ? "writes" : "reads", "wrote", word.written, is_shared);
        if (!writes) {
            Access *kept = word.read[is_atomic];
            kept[!is_done(kept[0], is_shared)] = mine;
            continue;
        }
        for (int k = 0; k < (is_atomic ? 1 : 2); k++)
            for (const Access &read : word.read[k])
                if (!is_done(read, is_shared)) race("writes", "read", read, is_shared);
        word.written = mine, word.is_atomic = is_atomic;
    }
}

/* What threads call ----------------------------------------------------------------------------- */

extern "C" {
void fence()
{
    thread->fenced_barriers = block->barriers, thread->fenced = event;
    if (thread->heard.nothing()) return;
    learn(thread->known, thread->heard);
    thread->heard = {};
}

void take_turns(bool writes)
{
    if (++thread->looks > WHILE || (writes && order > 0 && draw(4) == 0)) stop(READY);
}

void touched(void *p, size_t size, bool tells_when, bool changes)
{
    came_from = __builtin_return_address(0);
    touch((Address)p, size, changes, true);
    has_changed |= changes;
    if (!tells_when) return;
    const auto found = signals.find((Address)p);
    if (found != signals.end()) learn(thread->heard, found->second);
    if (!changes) return;
    Known &known = signals[(Address)p];
    learn(known, block->known), learn(known, thread->known);
    raise(known.blocks[block->number], thread->fenced_barriers);
    raise(known.threads[thread->number], thread->fenced);
}

void __tsan_init() {}
#define REPORTS(NAME, PARAMETERS, SIZE, WRITES)                                                                        \
    void __tsan_##NAME PARAMETERS { came_from = __builtin_return_address(0), touch(p, SIZE, WRITES, false); }
#define REPORTS_OF_SIZE(SIZE)                                                                                          \
    REPORTS(read##SIZE, (Address p), SIZE, false)                                                                      \
    REPORTS(write##SIZE, (Address p), SIZE, true)                                                                      \
    void __tsan_volatile_read##SIZE(void *p) { take_turns(false), touched(p, SIZE, true, false); }                     \
    void __tsan_volatile_write##SIZE(void *p) { take_turns(true), touched(p, SIZE, true, true); }
REPORTS(read_range, (Address p, size_t size), size, false)
REPORTS(write_range, (Address p, size_t size), size, true)
REPORTS_OF_SIZE(1) REPORTS_OF_SIZE(2) REPORTS_OF_SIZE(4) REPORTS_OF_SIZE(8) REPORTS_OF_SIZE(16)
}
