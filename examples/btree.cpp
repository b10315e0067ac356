// SPDX-License-Identifier: Apache-2.0
//
// An ordered map on a B-tree, with bidirectional iterators and erasure, tested
// against std::map through a long random history.

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

template <typename Key, typename Value, std::size_t MinDegree = 3,
          typename Compare = std::less<Key>>
class BTreeMap {
  static_assert(MinDegree >= 2, "a node must be able to split");

  using Entry = std::pair<Key, Value>;
  static constexpr std::size_t MaxEntries = 2 * MinDegree - 1;
  static constexpr std::size_t MinEntries = MinDegree - 1;

  struct Node {
    std::vector<Entry> Entries;
    std::vector<std::unique_ptr<Node>> Children; // empty in a leaf
    Node *Parent = nullptr;
    std::size_t SlotInParent = 0;

    Node() { Entries.reserve(MaxEntries); }

    bool isLeaf() const { return Children.empty(); }
    bool isFull() const { return Entries.size() == MaxEntries; }

    void adopt(std::size_t Slot, std::unique_ptr<Node> Child) {
      Children.insert(Children.begin() + static_cast<std::ptrdiff_t>(Slot),
                      std::move(Child));
      renumberFrom(Slot);
    }

    std::unique_ptr<Node> disown(std::size_t Slot) {
      std::unique_ptr<Node> Child = std::move(Children[Slot]);
      Children.erase(Children.begin() + static_cast<std::ptrdiff_t>(Slot));
      renumberFrom(Slot);
      return Child;
    }

    void insertEntry(std::size_t Slot, Entry E) {
      Entries.insert(Entries.begin() + static_cast<std::ptrdiff_t>(Slot),
                     std::move(E));
    }

    Entry removeEntry(std::size_t Slot) {
      Entry Removed = std::move(Entries[Slot]);
      Entries.erase(Entries.begin() + static_cast<std::ptrdiff_t>(Slot));
      return Removed;
    }

    void renumberFrom(std::size_t Slot) {
      for (; Slot < Children.size(); ++Slot) {
        Children[Slot]->Parent = this;
        Children[Slot]->SlotInParent = Slot;
      }
    }
  };

  template <bool IsConst> class BasicIterator {
  public:
    using iterator_category = std::bidirectional_iterator_tag;
    using value_type = std::pair<const Key &, Value>;
    using difference_type = std::ptrdiff_t;
    using MappedRef = std::conditional_t<IsConst, const Value &, Value &>;
    using reference = std::pair<const Key &, MappedRef>;
    using pointer = void;

    reference operator*() const {
      Entry &E = Current->Entries[Slot];
      return {E.first, E.second};
    }

    BasicIterator &operator++() {
      if (!Current->isLeaf()) {
        Current = Current->Children[Slot + 1].get();
        while (!Current->isLeaf())
          Current = Current->Children.front().get();
        Slot = 0;
        return *this;
      }
      ++Slot;
      while (Slot == Current->Entries.size() && Current->Parent) {
        Slot = Current->SlotInParent;
        Current = Current->Parent;
      }
      return *this;
    }

    BasicIterator &operator--() {
      if (!Current->isLeaf()) {
        Current = Current->Children[Slot].get();
        while (!Current->isLeaf())
          Current = Current->Children.back().get();
        Slot = Current->Entries.size() - 1;
        return *this;
      }
      while (Slot == 0 && Current->Parent) {
        Slot = Current->SlotInParent;
        Current = Current->Parent;
      }
      assert(Slot > 0 && "decremented begin()");
      --Slot;
      return *this;
    }

    BasicIterator operator++(int) {
      BasicIterator Old = *this;
      ++*this;
      return Old;
    }

    BasicIterator operator--(int) {
      BasicIterator Old = *this;
      --*this;
      return Old;
    }

    friend bool operator==(const BasicIterator &A, const BasicIterator &B) {
      return A.Current == B.Current && A.Slot == B.Slot;
    }
    friend bool operator!=(const BasicIterator &A, const BasicIterator &B) {
      return !(A == B);
    }

  private:
    friend class BTreeMap;
    BasicIterator(Node *Current, std::size_t Slot)
        : Current(Current), Slot(Slot) {}

    // The end is one slot past the last entry of the root.
    Node *Current;
    std::size_t Slot;
  };

public:
  using iterator = BasicIterator<false>;
  using const_iterator = BasicIterator<true>;

  BTreeMap() : Root(std::make_unique<Node>()) {}

  BTreeMap(std::initializer_list<Entry> Entries) : BTreeMap() {
    for (const Entry &E : Entries)
      insert(E.first, E.second);
  }

  std::size_t size() const { return Count; }
  bool empty() const { return Count == 0; }

  iterator begin() { return {leftmost(), 0}; }
  iterator end() { return {Root.get(), Root->Entries.size()}; }
  const_iterator begin() const { return {leftmost(), 0}; }
  const_iterator end() const { return {Root.get(), Root->Entries.size()}; }

  iterator find(const Key &K) {
    auto [N, Slot, Found] = locate(K);
    return Found ? iterator{N, Slot} : end();
  }

  iterator lowerBound(const Key &K) {
    auto [N, Slot, Found] = locate(K);
    while (Slot == N->Entries.size() && N->Parent) {
      Slot = N->SlotInParent;
      N = N->Parent;
    }
    return {N, Slot};
  }

  Value &operator[](const Key &K) {
    auto [N, Slot, Found] = locate(K);
    return Found ? N->Entries[Slot].second : addToLeaf(N, Slot, K, Value());
  }

  // Returns false and leaves the old value if the key is present.
  bool insert(const Key &K, Value V) {
    auto [N, Slot, Found] = locate(K);
    if (!Found)
      addToLeaf(N, Slot, K, std::move(V));
    return !Found;
  }

  bool erase(const Key &K) {
    auto [N, Slot, Found] = locate(K);
    if (!Found)
      return false;
    if (!N->isLeaf()) {
      // The predecessor, which lies in a leaf, takes the place of the entry.
      Node *Leaf = N->Children[Slot].get();
      while (!Leaf->isLeaf())
        Leaf = Leaf->Children.back().get();
      std::swap(N->Entries[Slot], Leaf->Entries.back());
      N = Leaf;
      Slot = Leaf->Entries.size() - 1;
    }
    N->removeEntry(Slot);
    --Count;
    while (N->Parent && N->Entries.size() < MinEntries)
      N = refill(N);
    if (Root->Entries.empty() && !Root->isLeaf()) {
      Root = Root->disown(0);
      Root->Parent = nullptr;
    }
    return true;
  }

  // Returns the height of a well-formed tree, or -1.
  int checkedHeight() const {
    std::size_t Seen = 0;
    int Height = checkNode(*Root, nullptr, nullptr, Seen);
    return Seen == Count ? Height : -1;
  }

private:
  struct Location {
    Node *N;
    std::size_t Slot;
    bool Found;
  };

  // An absent key yields the leaf and the slot where it belongs.
  Location locate(const Key &K) const {
    Node *N = Root.get();
    for (;;) {
      auto It = std::lower_bound(N->Entries.begin(), N->Entries.end(), K,
                                 [this](const Entry &E, const Key &Wanted) {
                                   return Less(E.first, Wanted);
                                 });
      auto Slot = static_cast<std::size_t>(It - N->Entries.begin());
      bool Found = It != N->Entries.end() && !Less(K, It->first);
      if (Found || N->isLeaf())
        return {N, Slot, Found};
      N = N->Children[Slot].get();
    }
  }

  Node *leftmost() const {
    Node *N = Root.get();
    while (!N->isLeaf())
      N = N->Children.front().get();
    return N;
  }

  Value &addToLeaf(Node *Leaf, std::size_t Slot, const Key &K, Value V) {
    if (Leaf->isFull()) {
      Node *Right = split(Leaf);
      if (Slot > Leaf->Entries.size()) {
        Slot -= Leaf->Entries.size() + 1;
        Leaf = Right;
      }
    }
    Leaf->insertEntry(Slot, {K, std::move(V)});
    ++Count;
    return Leaf->Entries[Slot].second;
  }

  // Moves the upper half of a full node to a new right sibling and the median
  // to the parent, which is split first if it is full too.
  Node *split(Node *Left) {
    if (!Left->Parent) {
      auto NewRoot = std::make_unique<Node>();
      NewRoot->adopt(0, std::move(Root));
      Root = std::move(NewRoot);
    } else if (Left->Parent->isFull()) {
      split(Left->Parent);
    }

    auto Middle = static_cast<std::ptrdiff_t>(MinEntries);
    auto Right = std::make_unique<Node>();
    Right->Entries.assign(
        std::make_move_iterator(Left->Entries.begin() + Middle + 1),
        std::make_move_iterator(Left->Entries.end()));
    Left->Entries.erase(Left->Entries.begin() + Middle + 1,
                        Left->Entries.end());
    if (!Left->isLeaf()) {
      Right->Children.assign(
          std::make_move_iterator(Left->Children.begin() + Middle + 1),
          std::make_move_iterator(Left->Children.end()));
      Left->Children.erase(Left->Children.begin() + Middle + 1,
                           Left->Children.end());
      Right->renumberFrom(0);
    }

    Node *Parent = Left->Parent;
    std::size_t Slot = Left->SlotInParent;
    Parent->insertEntry(Slot, Left->removeEntry(MinEntries));
    Node *Result = Right.get();
    Parent->adopt(Slot + 1, std::move(Right));
    return Result;
  }

  // Borrows an entry from a sibling through the parent, or else merges with
  // one. Returns the parent, which a merge leaves with one entry less.
  Node *refill(Node *N) {
    Node *Parent = N->Parent;
    std::size_t Slot = N->SlotInParent;
    Node *Left = Slot > 0 ? Parent->Children[Slot - 1].get() : nullptr;
    Node *Right = Slot + 1 < Parent->Children.size()
                      ? Parent->Children[Slot + 1].get()
                      : nullptr;
    if (Left && Left->Entries.size() > MinEntries) {
      std::size_t Last = Left->Entries.size() - 1;
      N->insertEntry(0, std::move(Parent->Entries[Slot - 1]));
      Parent->Entries[Slot - 1] = Left->removeEntry(Last);
      if (!Left->isLeaf())
        N->adopt(0, Left->disown(Last + 1));
    } else if (Right && Right->Entries.size() > MinEntries) {
      N->Entries.push_back(std::move(Parent->Entries[Slot]));
      Parent->Entries[Slot] = Right->removeEntry(0);
      if (!Right->isLeaf())
        N->adopt(N->Children.size(), Right->disown(0));
    } else if (Left) {
      merge(Parent, Slot - 1);
    } else {
      merge(Parent, Slot);
    }
    return Parent;
  }

  static void merge(Node *Parent, std::size_t Slot) {
    Node *Left = Parent->Children[Slot].get();
    std::unique_ptr<Node> Right = Parent->disown(Slot + 1);
    Left->Entries.push_back(Parent->removeEntry(Slot));
    std::move(Right->Entries.begin(), Right->Entries.end(),
              std::back_inserter(Left->Entries));
    std::size_t FirstMoved = Left->Children.size();
    std::move(Right->Children.begin(), Right->Children.end(),
              std::back_inserter(Left->Children));
    Left->renumberFrom(FirstMoved);
  }

  int checkNode(const Node &N, const Key *Low, const Key *High,
                std::size_t &Seen) const {
    if (N.Entries.size() > MaxEntries ||
        (N.Parent && N.Entries.size() < MinEntries) ||
        (!N.isLeaf() && N.Children.size() != N.Entries.size() + 1))
      return -1;
    for (const Entry &E : N.Entries) {
      if ((Low && !Less(*Low, E.first)) || (High && !Less(E.first, *High)))
        return -1;
      Low = &E.first;
    }
    Seen += N.Entries.size();
    if (N.isLeaf())
      return 1;

    int Height = 0;
    for (std::size_t I = 0; I < N.Children.size(); ++I) {
      const Node &Child = *N.Children[I];
      if (Child.Parent != &N || Child.SlotInParent != I)
        return -1;
      int ChildHeight =
          checkNode(Child, I > 0 ? &N.Entries[I - 1].first : nullptr,
                    I < N.Entries.size() ? &N.Entries[I].first : nullptr, Seen);
      if (ChildHeight < 0 || (I > 0 && ChildHeight != Height))
        return -1;
      Height = ChildHeight;
    }
    return Height + 1;
  }

  std::unique_ptr<Node> Root;
  std::size_t Count = 0;
  Compare Less;
};

namespace {

class Random {
public:
  explicit Random(std::uint64_t Seed) : State(Seed) {}

  std::uint32_t below(std::uint32_t Limit) {
    State = State * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(State >> 33) % Limit;
  }

private:
  std::uint64_t State;
};

// Orders strings by length first.
struct ShorterFirst {
  bool operator()(const std::string &A, const std::string &B) const {
    return A.size() != B.size() ? A.size() < B.size() : A < B;
  }
};

template <typename Tree, typename Reference>
bool sameContents(const Tree &Actual, const Reference &Expected) {
  auto It = Actual.begin();
  for (const auto &[K, V] : Expected) {
    if (It == Actual.end())
      return false;
    auto [ActualKey, ActualValue] = *It++;
    if (ActualKey != K || ActualValue != V)
      return false;
  }
  return It == Actual.end();
}

template <std::size_t MinDegree> bool compareWithStdMap() {
  BTreeMap<int, std::uint32_t, MinDegree> Tree;
  std::map<int, std::uint32_t> Reference;
  Random Rng(MinDegree);
  unsigned Inserted = 0, Erased = 0;
  int TallestSeen = 0;

  for (int Step = 0; Step < 6000; ++Step) {
    // Alternates between growing and shrinking phases.
    bool Growing = Step / 1500 % 2 == 0;
    int K = static_cast<int>(Rng.below(1500)) - 750;
    if (Rng.below(10) < (Growing ? 8u : 2u)) {
      std::uint32_t V = Rng.below(1000);
      bool IsNew = Tree.insert(K, V);
      Inserted += IsNew;
      if (IsNew != Reference.emplace(K, V).second)
        return false;
    } else {
      bool Existed = Tree.erase(K);
      Erased += Existed;
      if (Existed != (Reference.erase(K) == 1))
        return false;
    }
    if (Step % 250 == 0) {
      int Height = Tree.checkedHeight();
      if (Height < 0 || !sameContents(Tree, Reference))
        return false;
      TallestSeen = std::max(TallestSeen, Height);
    }
  }

  for (int K = -800; K <= 800; K += 7) {
    auto It = Tree.lowerBound(K);
    auto Expected = Reference.lower_bound(K);
    if ((It == Tree.end()) != (Expected == Reference.end()) ||
        (It != Tree.end() && (*It).first != Expected->first))
      return false;
  }

  std::uint64_t Sum = 0;
  for (auto It = Tree.end(); It != Tree.begin();) {
    auto [K, V] = *--It;
    Sum = Sum * 31 + V + static_cast<std::uint32_t>(K);
  }
  std::printf("degree %zu: %u inserted, %u erased, %zu left, height %d, "
              "checksum %016llx\n",
              MinDegree, Inserted, Erased, Tree.size(), TallestSeen,
              static_cast<unsigned long long>(Sum));

  while (!Tree.empty())
    Tree.erase((*Tree.begin()).first);
  return Tree.begin() == Tree.end() && Tree.checkedHeight() == 1;
}

bool countWords() {
  static constexpr std::array<const char *, 24> Words = {
      "a",    "tree", "of", "small", "nodes", "keeps", "a",    "map",
      "of",   "keys", "in", "order", "and",   "a",     "node", "of",
      "keys", "in",   "a",  "line",  "and",   "the",   "tree", "flat"};
  BTreeMap<std::string, int, 2, ShorterFirst> Counts{{"zebra", 0}, {"", -1}};
  for (const char *Word : Words)
    ++Counts[Word];
  for (auto [Word, Count] : Counts)
    Count *= Word.size() > 4 ? 10 : 1;

  std::printf("counts:");
  for (auto [Word, Count] : std::as_const(Counts))
    std::printf(" %s=%d", Word.c_str(), Count);
  int Total = std::accumulate(
      Counts.begin(), Counts.end(), 0,
      [](int Sum, const auto &Item) { return Sum + Item.second; });
  auto Pairs = std::count_if(Counts.begin(), Counts.end(),
                             [](const auto &I) { return I.second == 2; });
  bool HasTree = Counts.find("tree") != Counts.end();
  bool HasBush = Counts.find("bush") != Counts.end();
  std::printf("\ntotal %d, %d words twice, tree %d, bush %d\n", Total,
              static_cast<int>(Pairs), HasTree, HasBush);
  return HasTree && !HasBush && Counts.checkedHeight() > 1;
}

} // namespace

int main() {
  bool Passed = compareWithStdMap<2>() && compareWithStdMap<3>() &&
                compareWithStdMap<16>() && countWords();
  std::puts(Passed ? "all maps agree" : "FAILED");
  return Passed ? 0 : 1;
}
