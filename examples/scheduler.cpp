// SPDX-License-Identifier: Apache-2.0
//
// A discrete-event simulation of a small multiprocessor: jobs move through a
// state machine of computing, disk access and waiting under three scheduling
// policies. The simulation streams its trace through a lock-free ring to a
// second thread, which checks and summarizes it.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <iterator>
#include <queue>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Time = std::uint64_t;

enum class State : std::uint8_t { New, Ready, Running, Blocked, Done };
constexpr std::size_t StateCount = 5;

struct Transition {
  Time When;
  std::uint32_t Job;
  State From, To;
};

// A queue between exactly one producing and one consuming thread.
template <typename T, std::size_t Capacity> class Ring {
  static_assert((Capacity & (Capacity - 1)) == 0, "indices wrap by masking");

public:
  void push(const T &Item) {
    std::size_t Tail = Written.load(std::memory_order_relaxed);
    while (Tail - Read.load(std::memory_order_acquire) == Capacity)
      std::this_thread::yield();
    Slots[Tail & (Capacity - 1)] = Item;
    Written.store(Tail + 1, std::memory_order_release);
  }

  void close() { Closed.store(true, std::memory_order_release); }

  // Returns false when the ring is closed and drained.
  bool pop(T &Item) {
    std::size_t Head = Read.load(std::memory_order_relaxed);
    while (Head == Written.load(std::memory_order_acquire)) {
      // The last items may arrive between the two loads.
      if (Closed.load(std::memory_order_acquire) &&
          Head == Written.load(std::memory_order_acquire))
        return false;
      std::this_thread::yield();
    }
    Item = Slots[Head & (Capacity - 1)];
    Read.store(Head + 1, std::memory_order_release);
    return true;
  }

private:
  std::array<T, Capacity> Slots{};
  std::atomic<std::size_t> Written{0};
  std::atomic<std::size_t> Read{0};
  std::atomic<bool> Closed{false};
};

class Simulator {
public:
  using Action = std::function<void()>;

  Time now() const { return Now; }

  void after(Time Delay, Action Run) {
    Events.push({Now + Delay, NextSequence++, std::move(Run)});
  }

  std::uint64_t run() {
    std::uint64_t Handled = 0;
    for (; !Events.empty(); ++Handled) {
      Event Next = Events.top();
      Events.pop();
      Now = Next.When;
      Next.Run();
    }
    return Handled;
  }

private:
  struct Event {
    Time When;
    std::uint64_t Sequence; // keeps simultaneous events in order
    Action Run;

    bool operator<(const Event &Other) const {
      return When != Other.When ? When > Other.When : Sequence > Other.Sequence;
    }
  };

  std::priority_queue<Event> Events;
  Time Now = 0;
  std::uint64_t NextSequence = 0;
};

// Counts free units of a resource; a Lease gives its unit back when it dies.
class Resource {
public:
  class Lease {
  public:
    Lease() = default;
    Lease(Lease &&Other) noexcept
        : Owner(std::exchange(Other.Owner, nullptr)) {}
    Lease &operator=(Lease &&Other) noexcept {
      std::swap(Owner, Other.Owner);
      return *this;
    }
    ~Lease() {
      if (Owner)
        Owner->release();
    }

  private:
    friend class Resource;
    explicit Lease(Resource *Owner) : Owner(Owner) {}
    Resource *Owner = nullptr;
  };

  Resource(unsigned Units, std::function<void()> OnRelease)
      : Free(Units), OnRelease(std::move(OnRelease)) {}

  Resource(const Resource &) = delete;
  Resource &operator=(const Resource &) = delete;

  unsigned free() const { return Free; }

  Lease acquire() {
    --Free;
    return Lease(this);
  }

private:
  void release() {
    ++Free;
    OnRelease();
  }

  unsigned Free;
  std::function<void()> OnRelease;
};

struct Burst {
  Time Compute;
  Time DiskAccess; // 0 after the last burst
};

struct Job {
  std::uint32_t Number = 0;
  State Current = State::New;
  Time Arrival = 0;
  Time Finish = 0;
  std::deque<Burst> Bursts;
  Resource::Lease Core;
  Resource::Lease Disk;
};

struct Policy {
  std::string Name;
  Time Quantum; // 0 lets a job keep its core
  // Whether the first job should run before the second.
  std::function<bool(const Job &, const Job &)> Prefers;
};

class Machine {
public:
  using Trace = Ring<Transition, 64>;

  Machine(const Policy &Rules, std::vector<Job> Workload, Trace &Log,
          std::atomic<std::uint64_t> &BusyTime)
      : Rules(Rules), Jobs(std::move(Workload)), Log(Log), BusyTime(BusyTime),
        Cores(2, [this] { scheduleDispatch(); }),
        Disks(1, [this] { startDiskAccess(); }) {}

  std::uint64_t run() {
    for (Job &J : Jobs)
      Clock.after(J.Arrival, [this, &J] { enter(J, State::Ready); });
    return Clock.run();
  }

  const std::vector<Job> &jobs() const { return Jobs; }
  Time finished() const { return Clock.now(); }

private:
  void enter(Job &J, State Next) {
    Log.push({Clock.now(), J.Number, J.Current, Next});
    J.Current = Next;
    switch (Next) {
    case State::New:
      break;
    case State::Ready:
      ReadyQueue.push_back(&J);
      scheduleDispatch();
      break;
    case State::Running:
      runSlice(J);
      break;
    case State::Blocked:
      DiskQueue.push_back(&J);
      startDiskAccess();
      break;
    case State::Done:
      J.Finish = Clock.now();
      break;
    }
  }

  // Dispatching waits until all events of this moment are in, so that the
  // policy sees every job that is ready.
  void scheduleDispatch() {
    if (std::exchange(DispatchPending, true))
      return;
    Clock.after(0, [this] {
      DispatchPending = false;
      while (Cores.free() > 0 && !ReadyQueue.empty()) {
        auto Best = std::min_element(
            ReadyQueue.begin(), ReadyQueue.end(),
            [this](Job *A, Job *B) { return Rules.Prefers(*A, *B); });
        Job &J = **Best;
        ReadyQueue.erase(Best);
        J.Core = Cores.acquire();
        enter(J, State::Running);
      }
    });
  }

  void runSlice(Job &J) {
    Burst &Current = J.Bursts.front();
    Time Slice = Rules.Quantum > 0 ? std::min(Rules.Quantum, Current.Compute)
                                   : Current.Compute;
    Clock.after(Slice, [this, &J, &Current, Slice] {
      BusyTime.fetch_add(Slice, std::memory_order_relaxed);
      Current.Compute -= Slice;
      Resource::Lease Returned = std::move(J.Core);
      if (Current.Compute > 0)
        enter(J, State::Ready);
      else if (Current.DiskAccess > 0)
        enter(J, State::Blocked);
      else
        enter(J, State::Done);
    });
  }

  void startDiskAccess() {
    if (Disks.free() == 0 || DiskQueue.empty())
      return;
    Job &J = *DiskQueue.front();
    DiskQueue.pop_front();
    J.Disk = Disks.acquire();
    Clock.after(J.Bursts.front().DiskAccess, [this, &J] {
      Resource::Lease Returned = std::move(J.Disk);
      J.Bursts.pop_front();
      enter(J, State::Ready);
    });
  }

  const Policy &Rules;
  std::vector<Job> Jobs;
  Trace &Log;
  std::atomic<std::uint64_t> &BusyTime;
  Simulator Clock;
  std::deque<Job *> ReadyQueue;
  std::deque<Job *> DiskQueue;
  bool DispatchPending = false;
  Resource Cores;
  Resource Disks;
};

std::vector<Job> makeWorkload(std::uint32_t Count, std::uint64_t Seed) {
  auto Below = [&Seed](std::uint64_t Limit) {
    Seed ^= Seed << 13;
    Seed ^= Seed >> 7;
    Seed ^= Seed << 17;
    return Seed % Limit;
  };
  std::vector<Job> Jobs(Count);
  Time Arrival = 0;
  for (std::uint32_t I = 0; I < Count; ++I) {
    Job &J = Jobs[I];
    J.Number = I;
    J.Arrival = Arrival;
    Arrival += Below(40);
    bool IsLong = Below(5) == 0;
    for (std::uint64_t Left = Below(4); Left > 0; --Left)
      J.Bursts.push_back({1 + Below(20), 1 + Below(15)});
    J.Bursts.push_back({IsLong ? 80 + Below(80) : 1 + Below(25), 0});
  }
  return Jobs;
}

struct Summary {
  std::array<std::array<unsigned, StateCount>, StateCount> Moves{};
  std::uint64_t Hash = 14695981039346656037u;
  unsigned Violations = 0;
};

// Replays the trace and counts the transitions that the state machine forbids.
Summary summarize(Machine::Trace &Log, std::size_t JobCount) {
  using S = State;
  constexpr std::pair<S, S> Legal[] = {
      {S::New, S::Ready},       {S::Ready, S::Running}, {S::Running, S::Ready},
      {S::Running, S::Blocked}, {S::Running, S::Done},  {S::Blocked, S::Ready},
  };
  Summary Result;
  std::vector<State> Known(JobCount, State::New);
  Time Latest = 0;
  Transition T{};
  while (Log.pop(T)) {
    bool IsLegal = std::find(std::begin(Legal), std::end(Legal),
                             std::make_pair(T.From, T.To)) != std::end(Legal);
    if (!IsLegal || Known[T.Job] != T.From || T.When < Latest)
      ++Result.Violations;
    Known[T.Job] = T.To;
    Latest = T.When;
    auto From = static_cast<std::size_t>(T.From);
    auto To = static_cast<std::size_t>(T.To);
    ++Result.Moves[From][To];
    for (std::uint64_t Word : {T.When, std::uint64_t{T.Job}, std::uint64_t{To}})
      Result.Hash = (Result.Hash ^ Word) * 1099511628211u;
  }
  for (State Final : Known)
    Result.Violations += Final != State::Done;
  return Result;
}

// Joins on every way out of the scope, so that the thread never outlives what
// it refers to.
class JoiningThread {
public:
  template <typename Body>
  explicit JoiningThread(Body Run) : Worker(std::move(Run)) {}
  JoiningThread(const JoiningThread &) = delete;
  JoiningThread &operator=(const JoiningThread &) = delete;
  ~JoiningThread() { Worker.join(); }

private:
  std::thread Worker;
};

bool simulate(const Policy &Rules) {
  constexpr std::uint32_t JobCount = 60;
  std::vector<Job> Workload = makeWorkload(JobCount, 0x9E3779B97F4A7C15u);
  std::uint64_t Demand = 0;
  for (const Job &J : Workload)
    for (const Burst &B : J.Bursts)
      Demand += B.Compute;

  Machine::Trace Log;
  std::atomic<std::uint64_t> BusyTime{0};
  Machine M(Rules, std::move(Workload), Log, BusyTime);
  Summary Observed;
  std::uint64_t Events = 0;
  {
    JoiningThread Consumer([&] { Observed = summarize(Log, JobCount); });
    JoiningThread Producer([&] {
      Events = M.run();
      Log.close();
    });
  }

  std::vector<Time> Turnaround;
  for (const Job &J : M.jobs())
    Turnaround.push_back(J.Finish - J.Arrival);
  std::sort(Turnaround.begin(), Turnaround.end());
  Time Total = 0;
  for (Time T : Turnaround)
    Total += T;

  auto Moves = [&Observed](State From, State To) {
    return Observed
        .Moves[static_cast<std::size_t>(From)][static_cast<std::size_t>(To)];
  };
  std::printf("%s: %llu events, finished at %llu, busy %llu of %llu\n",
              Rules.Name.c_str(), static_cast<unsigned long long>(Events),
              static_cast<unsigned long long>(M.finished()),
              static_cast<unsigned long long>(BusyTime.load()),
              static_cast<unsigned long long>(2 * M.finished()));
  std::printf("  turnaround mean %llu, median %llu, worst %llu\n",
              static_cast<unsigned long long>(Total / JobCount),
              static_cast<unsigned long long>(Turnaround[JobCount / 2]),
              static_cast<unsigned long long>(Turnaround.back()));
  std::printf("  %u dispatches, %u preemptions, %u disk accesses, "
              "%u violations, trace %016llx\n",
              Moves(State::Ready, State::Running),
              Moves(State::Running, State::Ready),
              Moves(State::Running, State::Blocked), Observed.Violations,
              static_cast<unsigned long long>(Observed.Hash));
  return Observed.Violations == 0 && BusyTime.load() == Demand &&
         Moves(State::Running, State::Done) == JobCount;
}

} // namespace

int main() {
  auto NextBurst = [](const Job &J) { return J.Bursts.front().Compute; };
  const Policy Policies[] = {
      {"first come, first served", 0,
       [](const Job &, const Job &) { return false; }},
      {"round robin", 10, [](const Job &, const Job &) { return false; }},
      {"shortest burst first", 0,
       [NextBurst](const Job &A, const Job &B) {
         return NextBurst(A) < NextBurst(B);
       }},
  };
  bool Passed = true;
  for (const Policy &Rules : Policies)
    Passed &= simulate(Rules);
  std::puts(Passed ? "all traces valid" : "FAILED");
  return Passed ? 0 : 1;
}
