// SPDX-License-Identifier: Apache-2.0
//
// A SAT solver: conflict-driven clause learning with two watched literals,
// first-UIP cuts, activity-ordered decisions, phase saving, Luby restarts and
// periodic removal of learned clauses. main() solves small puzzles and checks
// every model it gets.

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sat {

class Lit {
public:
  Lit(unsigned Variable, bool Negated) : Code(2 * Variable + Negated) {}

  unsigned variable() const { return Code / 2; }
  bool negated() const { return Code % 2 != 0; }
  unsigned index() const { return Code; }
  Lit operator~() const { return Lit(variable(), !negated()); }
  bool operator==(Lit Other) const { return Code == Other.Code; }
  bool operator!=(Lit Other) const { return Code != Other.Code; }
  bool operator<(Lit Other) const { return Code < Other.Code; }

private:
  unsigned Code;
};

enum class Truth : std::int8_t { False, True, Unknown };

struct Clause {
  std::vector<Lit> Lits; // the first two are watched
  bool Learned;
  unsigned Glue; // decision levels among the literals when it was learned
};

struct Statistics {
  unsigned Decisions = 0;
  unsigned Conflicts = 0;
  unsigned Restarts = 0;
  unsigned Removed = 0;
  std::uint64_t Propagations = 0;
};

// A binary heap of variables with the most active one on top.
class ActivityQueue {
public:
  void addVariable() {
    Activity.push_back(0);
    Position.push_back(Absent);
    push(static_cast<unsigned>(Activity.size() - 1));
  }

  bool empty() const { return Heap.empty(); }

  void push(unsigned Variable) {
    if (Position[Variable] != Absent)
      return;
    Position[Variable] = Heap.size();
    Heap.push_back(Variable);
    siftUp(Heap.size() - 1);
  }

  unsigned pop() {
    unsigned Top = Heap.front();
    place(0, Heap.back());
    Heap.pop_back();
    Position[Top] = Absent;
    if (!Heap.empty())
      siftDown(0);
    return Top;
  }

  void bump(unsigned Variable) {
    Activity[Variable] += Increment;
    if (Activity[Variable] > 1e100) {
      for (double &A : Activity)
        A *= 1e-100;
      Increment *= 1e-100;
    }
    if (Position[Variable] != Absent)
      siftUp(Position[Variable]);
  }

  void decay() { Increment *= 1.0 / 0.95; }

private:
  static constexpr std::size_t Absent = SIZE_MAX;

  // Ties are broken by number, which keeps runs reproducible.
  bool before(unsigned A, unsigned B) const {
    return Activity[A] != Activity[B] ? Activity[A] > Activity[B] : A < B;
  }

  void place(std::size_t Slot, unsigned Variable) {
    Heap[Slot] = Variable;
    Position[Variable] = Slot;
  }

  void siftUp(std::size_t Slot) {
    unsigned Variable = Heap[Slot];
    while (Slot > 0 && before(Variable, Heap[(Slot - 1) / 2])) {
      place(Slot, Heap[(Slot - 1) / 2]);
      Slot = (Slot - 1) / 2;
    }
    place(Slot, Variable);
  }

  void siftDown(std::size_t Slot) {
    unsigned Variable = Heap[Slot];
    for (std::size_t Child; (Child = 2 * Slot + 1) < Heap.size();
         Slot = Child) {
      if (Child + 1 < Heap.size() && before(Heap[Child + 1], Heap[Child]))
        ++Child;
      if (!before(Heap[Child], Variable))
        break;
      place(Slot, Heap[Child]);
    }
    place(Slot, Variable);
  }

  std::vector<double> Activity;
  std::vector<unsigned> Heap;
  std::vector<std::size_t> Position;
  double Increment = 1;
};

class Solver {
public:
  unsigned addVariable() {
    Values.push_back(Truth::Unknown);
    Levels.push_back(0);
    Reasons.push_back(nullptr);
    SavedPhase.push_back(false);
    Seen.push_back(false);
    Watches.resize(Watches.size() + 2);
    Queue.addVariable();
    return static_cast<unsigned>(Values.size() - 1);
  }

  void addClause(std::vector<Lit> Lits) {
    assert(TrailLimits.empty() && "clauses are added before solving");
    std::sort(Lits.begin(), Lits.end());
    Lits.erase(std::unique(Lits.begin(), Lits.end()), Lits.end());
    for (std::size_t I = 1; I < Lits.size(); ++I)
      if (Lits[I] == ~Lits[I - 1])
        return; // always true
    auto IsFalse = [this](Lit L) { return value(L) == Truth::False; };
    Lits.erase(std::remove_if(Lits.begin(), Lits.end(), IsFalse), Lits.end());

    if (Lits.empty())
      Contradiction = true;
    else if (Lits.size() > 1)
      attach(std::move(Lits), false, 0);
    else if (value(Lits[0]) == Truth::Unknown)
      assign(Lits[0], nullptr);
  }

  bool solve() {
    if (Contradiction || propagate())
      return false;
    for (unsigned Round = 1;; ++Round) {
      Truth Result = search(32 * luby(Round));
      if (Result != Truth::Unknown)
        return Result == Truth::True;
      ++Stats.Restarts;
      backtrackTo(0);
      removeWeakClauses();
    }
  }

  bool isTrue(Lit L) const { return value(L) == Truth::True; }
  const Statistics &statistics() const { return Stats; }

private:
  Truth value(Lit L) const {
    Truth T = Values[L.variable()];
    if (T == Truth::Unknown || !L.negated())
      return T;
    return T == Truth::True ? Truth::False : Truth::True;
  }

  unsigned level() const { return static_cast<unsigned>(TrailLimits.size()); }

  // The sequence 1 1 2 1 1 2 4 1 1 2 1 1 2 4 8 ...
  static unsigned luby(unsigned I) {
    unsigned Power = 1;
    while (Power < I + 1)
      Power *= 2;
    return Power == I + 1 ? Power / 2 : luby(I - Power / 2 + 1);
  }

  Clause *attach(std::vector<Lit> Lits, bool Learned, unsigned Glue) {
    Clauses.push_back(
        std::make_unique<Clause>(Clause{std::move(Lits), Learned, Glue}));
    Clause *C = Clauses.back().get();
    watch(C);
    return C;
  }

  void watch(Clause *C) {
    for (std::size_t I = 0; I < 2; ++I)
      Watches[C->Lits[I].index()].push_back(C);
  }

  void assign(Lit L, Clause *Reason) {
    unsigned V = L.variable();
    Values[V] = L.negated() ? Truth::False : Truth::True;
    Levels[V] = level();
    Reasons[V] = Reason;
    Trail.push_back(L);
  }

  // Returns the clause that became false, or null.
  Clause *propagate() {
    while (Propagated < Trail.size()) {
      Lit False = ~Trail[Propagated++];
      ++Stats.Propagations;
      std::vector<Clause *> &List = Watches[False.index()];
      std::size_t Kept = 0;
      for (std::size_t I = 0; I < List.size(); ++I) {
        Clause *C = List[I];
        std::vector<Lit> &Lits = C->Lits;
        if (Lits[0] == False)
          std::swap(Lits[0], Lits[1]);
        if (value(Lits[0]) != Truth::True) {
          auto IsFree = [this](Lit L) { return value(L) != Truth::False; };
          auto Free = std::find_if(Lits.begin() + 2, Lits.end(), IsFree);
          if (Free != Lits.end()) {
            std::swap(Lits[1], *Free);
            Watches[Lits[1].index()].push_back(C);
            continue;
          }
        }
        List[Kept++] = C;
        if (value(Lits[0]) == Truth::True)
          continue;
        if (value(Lits[0]) == Truth::False) {
          while (++I < List.size())
            List[Kept++] = List[I];
          List.resize(Kept);
          return C;
        }
        assign(Lits[0], C);
      }
      List.resize(Kept);
    }
    return nullptr;
  }

  // Resolves the conflict back to the first unique implication point. The
  // asserting literal comes first in the result, and one from the level to
  // return to comes second.
  std::vector<Lit> analyze(const Clause *Conflict) {
    std::vector<Lit> Learned{Trail.back()}; // slot 0 is replaced at the end
    unsigned OpenPaths = 0;
    std::size_t TrailIndex = Trail.size();
    const Clause *Reason = Conflict;
    for (;;) {
      for (Lit L : Reason->Lits) {
        unsigned V = L.variable();
        if (Seen[V] || Levels[V] == 0 || value(L) == Truth::True)
          continue;
        Seen[V] = true;
        Queue.bump(V);
        if (Levels[V] == level())
          ++OpenPaths;
        else
          Learned.push_back(L);
      }
      do
        --TrailIndex;
      while (!Seen[Trail[TrailIndex].variable()]);
      unsigned V = Trail[TrailIndex].variable();
      Seen[V] = false;
      if (--OpenPaths == 0)
        break;
      Reason = Reasons[V];
    }
    Learned[0] = ~Trail[TrailIndex];

    std::vector<Lit> Unminimized = Learned;
    auto IsImplied = [this](Lit L) { return impliedByOthers(L); };
    Learned.erase(std::remove_if(Learned.begin() + 1, Learned.end(), IsImplied),
                  Learned.end());
    for (Lit L : Unminimized)
      Seen[L.variable()] = false;
    if (Learned.size() > 1) {
      auto ByLevel = [this](Lit A, Lit B) {
        return Levels[A.variable()] < Levels[B.variable()];
      };
      std::iter_swap(
          Learned.begin() + 1,
          std::max_element(Learned.begin() + 1, Learned.end(), ByLevel));
    }
    return Learned;
  }

  bool impliedByOthers(Lit L) const {
    const Clause *Reason = Reasons[L.variable()];
    return Reason && std::all_of(Reason->Lits.begin(), Reason->Lits.end(),
                                 [&](Lit Other) {
                                   unsigned V = Other.variable();
                                   return Other == ~L || Seen[V] ||
                                          Levels[V] == 0;
                                 });
  }

  unsigned glueOf(const std::vector<Lit> &Lits) const {
    std::vector<unsigned> Distinct;
    for (Lit L : Lits)
      Distinct.push_back(Levels[L.variable()]);
    std::sort(Distinct.begin(), Distinct.end());
    return static_cast<unsigned>(std::unique(Distinct.begin(), Distinct.end()) -
                                 Distinct.begin());
  }

  void backtrackTo(unsigned Target) {
    if (level() <= Target)
      return;
    for (std::size_t I = Trail.size(); I > TrailLimits[Target]; --I) {
      unsigned V = Trail[I - 1].variable();
      SavedPhase[V] = Values[V] == Truth::True;
      Values[V] = Truth::Unknown;
      Reasons[V] = nullptr;
      Queue.push(V);
    }
    Trail.erase(Trail.begin() +
                    static_cast<std::ptrdiff_t>(TrailLimits[Target]),
                Trail.end());
    TrailLimits.resize(Target);
    Propagated = Trail.size();
  }

  // Runs until an answer or, with Unknown, the conflict limit.
  Truth search(unsigned ConflictLimit) {
    for (unsigned Conflicts = 0;;) {
      if (Clause *Conflict = propagate()) {
        ++Stats.Conflicts;
        if (level() == 0)
          return Truth::False;
        std::vector<Lit> Learned = analyze(Conflict);
        unsigned Glue = glueOf(Learned);
        Lit Asserted = Learned[0];
        backtrackTo(Learned.size() > 1 ? Levels[Learned[1].variable()] : 0);
        assign(Asserted, Learned.size() > 1
                             ? attach(std::move(Learned), true, Glue)
                             : nullptr);
        Queue.decay();
        ++Conflicts;
        continue;
      }
      if (Conflicts >= ConflictLimit)
        return Truth::Unknown;

      while (!Queue.empty()) {
        unsigned V = Queue.pop();
        if (Values[V] != Truth::Unknown)
          continue;
        ++Stats.Decisions;
        TrailLimits.push_back(Trail.size());
        assign(Lit(V, !SavedPhase[V]), nullptr);
        break;
      }
      if (Propagated == Trail.size())
        return Truth::True; // every variable has a value
    }
  }

  // Only called on level 0, where no clause is needed as a reason any more.
  void removeWeakClauses() {
    for (unsigned V = 0; V < Reasons.size(); ++V)
      Reasons[V] = nullptr;
    auto IsWeak = [](const std::unique_ptr<Clause> &C) {
      return C->Learned && C->Glue > 4;
    };
    auto Weak = std::count_if(Clauses.begin(), Clauses.end(), IsWeak);
    if (Weak < 150)
      return;
    Stats.Removed += static_cast<unsigned>(Weak);
    Clauses.erase(std::remove_if(Clauses.begin(), Clauses.end(), IsWeak),
                  Clauses.end());
    for (std::vector<Clause *> &List : Watches)
      List.clear();
    for (const std::unique_ptr<Clause> &C : Clauses)
      watch(C.get());
  }

  std::vector<std::unique_ptr<Clause>> Clauses;
  std::vector<std::vector<Clause *>> Watches; // by literal
  std::vector<Truth> Values;
  std::vector<unsigned> Levels;
  std::vector<Clause *> Reasons;
  std::vector<bool> SavedPhase;
  std::vector<bool> Seen;
  std::vector<Lit> Trail;
  std::vector<std::size_t> TrailLimits; // trail size at each decision
  std::size_t Propagated = 0;
  ActivityQueue Queue;
  Statistics Stats;
  bool Contradiction = false;
};

} // namespace sat

namespace {

using sat::Lit;
using Formula = std::vector<std::vector<Lit>>;

Lit yes(unsigned Variable) { return Lit(Variable, false); }
Lit no(unsigned Variable) { return Lit(Variable, true); }

void addExactlyOne(Formula &F, const std::vector<unsigned> &Variables) {
  std::vector<Lit> Any;
  for (std::size_t I = 0; I < Variables.size(); ++I) {
    Any.push_back(yes(Variables[I]));
    for (std::size_t J = 0; J < I; ++J)
      F.push_back({no(Variables[I]), no(Variables[J])});
  }
  F.push_back(std::move(Any));
}

Formula pigeonhole(unsigned Holes) {
  Formula F;
  for (unsigned Pigeon = 0; Pigeon <= Holes; ++Pigeon) {
    std::vector<Lit> Somewhere;
    for (unsigned Hole = 0; Hole < Holes; ++Hole) {
      Somewhere.push_back(yes(Pigeon * Holes + Hole));
      for (unsigned Other = 0; Other < Pigeon; ++Other)
        F.push_back({no(Pigeon * Holes + Hole), no(Other * Holes + Hole)});
    }
    F.push_back(std::move(Somewhere));
  }
  return F;
}

Formula randomThreeSat(unsigned Variables, unsigned Clauses,
                       std::uint32_t Seed) {
  auto Next = [&Seed](unsigned Limit) {
    Seed = Seed * 1664525u + 1013904223u;
    return (Seed >> 16) % Limit;
  };
  Formula F;
  while (F.size() < Clauses) {
    std::vector<Lit> Lits;
    for (int I = 0; I < 3; ++I) {
      unsigned Variable = Next(Variables);
      Lits.push_back(Lit(Variable, Next(2) == 0));
    }
    F.push_back(std::move(Lits));
  }
  return F;
}

constexpr unsigned cell(unsigned Row, unsigned Column, unsigned Digit) {
  return (Row * 9 + Column) * 9 + Digit;
}

Formula sudoku(const std::string &Givens) {
  Formula F;
  for (unsigned A = 0; A < 9; ++A) {
    for (unsigned B = 0; B < 9; ++B) {
      std::vector<unsigned> Digit, InRow, InColumn, InBox;
      for (unsigned C = 0; C < 9; ++C) {
        Digit.push_back(cell(A, B, C));
        InRow.push_back(cell(A, C, B));
        InColumn.push_back(cell(C, A, B));
        InBox.push_back(cell(A / 3 * 3 + C / 3, A % 3 * 3 + C % 3, B));
      }
      for (const auto *Group : {&Digit, &InRow, &InColumn, &InBox})
        addExactlyOne(F, *Group);
      char Given = Givens[A * 9 + B];
      if (Given != '.')
        F.push_back({yes(cell(A, B, static_cast<unsigned>(Given - '1')))});
    }
  }
  return F;
}

bool satisfies(const sat::Solver &S, const Formula &F) {
  return std::all_of(F.begin(), F.end(), [&S](const std::vector<Lit> &Lits) {
    return std::any_of(Lits.begin(), Lits.end(),
                       [&S](Lit L) { return S.isTrue(L); });
  });
}

// Returns whether the answer is as expected and the model holds.
bool report(const char *Name, const Formula &F, sat::Solver &S, bool Expected) {
  unsigned Variables = 0;
  for (const auto &Lits : F)
    for (Lit L : Lits)
      while (Variables <= L.variable())
        Variables = S.addVariable() + 1;
  for (const auto &Lits : F)
    S.addClause(Lits);
  bool Satisfiable = S.solve();
  const sat::Statistics &Stats = S.statistics();
  std::printf("%s: %u variables, %zu clauses: %s\n"
              "  %u decisions, %u conflicts, %llu propagations, %u restarts, "
              "%u clauses removed\n",
              Name, Variables, F.size(), Satisfiable ? "SAT" : "UNSAT",
              Stats.Decisions, Stats.Conflicts,
              static_cast<unsigned long long>(Stats.Propagations),
              Stats.Restarts, Stats.Removed);
  return Satisfiable == Expected && (!Satisfiable || satisfies(S, F));
}

} // namespace

int main() {
  bool Passed = true;
  sat::Solver Pigeons, First, Second, Puzzle;
  Passed &= report("pigeonhole 6", pigeonhole(6), Pigeons, false);
  Passed &=
      report("first random 3-SAT", randomThreeSat(100, 425, 5), First, true);
  Passed &= report("second random 3-SAT", randomThreeSat(110, 465, 11), Second,
                   false);
  Passed &= report("sudoku",
                   sudoku("8..........36......7..9.2...5...7.......457....."
                          "1...3...1....68..85...1..9....4.."),
                   Puzzle, true);
  for (unsigned Row = 0; Row < 9; ++Row) {
    for (unsigned Column = 0; Column < 9; ++Column)
      for (unsigned Digit = 0; Digit < 9; ++Digit)
        if (Puzzle.isTrue(yes(cell(Row, Column, Digit))))
          std::printf("%u", Digit + 1);
    std::puts("");
  }
  std::puts(Passed ? "all answers verified" : "FAILED");
  return Passed ? 0 : 1;
}
