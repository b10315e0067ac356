// SPDX-License-Identifier: Apache-2.0
//
// A calculator with variables, user-defined functions and symbolic
// derivatives. Expressions are trees of polymorphic nodes; every kind of
// mistake is an exception that the session catches and reports.

#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

class SyntaxError : public std::runtime_error {
public:
  SyntaxError(const std::string &Message, std::size_t Column)
      : std::runtime_error(Message), Column(Column) {}
  std::size_t column() const { return Column; }

private:
  std::size_t Column;
};

class EvaluationError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

class UnknownName : public EvaluationError {
public:
  explicit UnknownName(const std::string &Name)
      : EvaluationError("unknown name '" + Name + "'") {}
};

class Scope;
class Expr;
using ExprPtr = std::shared_ptr<const Expr>;

class Expr {
public:
  virtual ~Expr() = default;
  virtual double evaluate(const Scope &S) const = 0;
  virtual ExprPtr derivative(const std::string &Variable) const = 0;
  virtual std::string text() const = 0;
  virtual int precedence() const { return 10; }
  virtual const double *constant() const { return nullptr; }

  std::string textWithin(int MinPrecedence) const {
    return precedence() < MinPrecedence ? "(" + text() + ")" : text();
  }

protected:
  Expr() = default;
  Expr(const Expr &) = delete;
  Expr &operator=(const Expr &) = delete;
};

struct Function {
  std::vector<std::string> Parameters;
  ExprPtr Body;
};

// Names visible to an expression: the parameters of the function being
// evaluated hide the variables of the session.
class Scope {
public:
  Scope() = default;
  explicit Scope(const Scope *Caller)
      : Outer(Caller->Outer ? Caller->Outer : Caller),
        Depth(Caller->Depth + 1) {
    if (Depth > 200)
      throw EvaluationError("recursion too deep");
  }
  Scope(const Scope &) = delete;
  Scope &operator=(const Scope &) = delete;

  double variable(const std::string &Name) const {
    auto It = Variables.find(Name);
    if (It != Variables.end())
      return It->second;
    if (!Outer)
      throw UnknownName(Name);
    return Outer->variable(Name);
  }

  const Function &function(const std::string &Name) const {
    const std::map<std::string, Function> &Known =
        Outer ? Outer->Functions : Functions;
    auto It = Known.find(Name);
    if (It == Known.end())
      throw UnknownName(Name);
    return It->second;
  }

  void set(const std::string &Name, double Value) { Variables[Name] = Value; }
  void define(const std::string &Name, Function F) {
    Functions[Name] = std::move(F);
  }

private:
  const Scope *Outer = nullptr;
  int Depth = 0;
  std::map<std::string, double> Variables;
  std::map<std::string, Function> Functions;
};

ExprPtr number(double Value);
ExprPtr binary(char Op, ExprPtr Left, ExprPtr Right);
ExprPtr call(const std::string &Name, std::vector<ExprPtr> Arguments);

std::string formatted(double Value) {
  char Buffer[32];
  std::snprintf(Buffer, sizeof Buffer, "%.6g", Value);
  return Buffer;
}

class Number final : public Expr {
public:
  explicit Number(double Value) : Value(Value) {}
  double evaluate(const Scope &) const override { return Value; }
  ExprPtr derivative(const std::string &) const override { return number(0); }
  std::string text() const override { return formatted(Value); }
  int precedence() const override { return Value < 0 ? 1 : 10; }
  const double *constant() const override { return &Value; }

private:
  double Value;
};

class Variable final : public Expr {
public:
  explicit Variable(std::string Name) : Name(std::move(Name)) {}
  double evaluate(const Scope &S) const override { return S.variable(Name); }
  ExprPtr derivative(const std::string &Other) const override {
    return number(Name == Other ? 1 : 0);
  }
  std::string text() const override { return Name; }

private:
  std::string Name;
};

int precedenceOf(char Op) {
  switch (Op) {
  case '<':
  case '=':
    return 1;
  case '+':
  case '-':
    return 2;
  case '*':
  case '/':
    return 3;
  case '^':
    return 5; // binds tighter than the unary minus
  default:
    return -1;
  }
}

class Binary final : public Expr {
public:
  Binary(char Op, ExprPtr Left, ExprPtr Right)
      : Op(Op), Left(std::move(Left)), Right(std::move(Right)) {}

  double evaluate(const Scope &S) const override {
    double A = Left->evaluate(S), B = Right->evaluate(S);
    switch (Op) {
    case '<':
      return A < B ? 1 : 0;
    case '=':
      return A == B ? 1 : 0;
    case '+':
      return A + B;
    case '-':
      return A - B;
    case '*':
      return A * B;
    case '/':
      if (B == 0)
        throw EvaluationError("division by zero in " + text());
      return A / B;
    case '^':
      if (A < 0 && B != std::floor(B))
        throw EvaluationError("root of a negative number in " + text());
      return std::pow(A, B);
    default:
      throw std::logic_error("unhandled operator");
    }
  }

  ExprPtr derivative(const std::string &V) const override {
    ExprPtr DLeft = Left->derivative(V), DRight = Right->derivative(V);
    switch (Op) {
    case '+':
    case '-':
      return binary(Op, DLeft, DRight);
    case '*':
      return binary('+', binary('*', DLeft, Right), binary('*', Left, DRight));
    case '/':
      return binary(
          '/',
          binary('-', binary('*', DLeft, Right), binary('*', Left, DRight)),
          binary('^', Right, number(2)));
    case '^':
      if (const double *Exponent = Right->constant())
        return binary(
            '*', binary('*', Right, binary('^', Left, number(*Exponent - 1))),
            DLeft);
      // d(a^b) = a^b (b' ln a + b a'/a)
      return binary('*', binary('^', Left, Right),
                    binary('+', binary('*', DRight, call("ln", {Left})),
                           binary('/', binary('*', Right, DLeft), Left)));
    default:
      throw EvaluationError("cannot differentiate " + text());
    }
  }

  std::string text() const override {
    int Level = precedenceOf(Op);
    bool RightAssociative = Op == '^';
    return Left->textWithin(Level + RightAssociative) + " " + Op + " " +
           Right->textWithin(Level + !RightAssociative);
  }

  int precedence() const override { return precedenceOf(Op); }

private:
  char Op;
  ExprPtr Left, Right;
};

struct Builtin {
  double (*Evaluate)(double);
  bool (*Accepts)(double);
  ExprPtr (*Derivative)(const ExprPtr &);
};

const std::map<std::string, Builtin> &builtins() {
  static const auto Any = [](double) { return true; };
  static const std::map<std::string, Builtin> Table = {
      {"sin",
       {[](double X) { return std::sin(X); }, Any,
        [](const ExprPtr &A) { return call("cos", {A}); }}},
      {"cos",
       {[](double X) { return std::cos(X); }, Any,
        [](const ExprPtr &A) {
          return binary('*', number(-1), call("sin", {A}));
        }}},
      {"exp",
       {[](double X) { return std::exp(X); }, Any,
        [](const ExprPtr &A) { return call("exp", {A}); }}},
      {"ln",
       {[](double X) { return std::log(X); }, [](double X) { return X > 0; },
        [](const ExprPtr &A) { return binary('/', number(1), A); }}},
      {"sqrt",
       {[](double X) { return std::sqrt(X); }, [](double X) { return X >= 0; },
        [](const ExprPtr &A) {
          return binary('/', number(0.5), call("sqrt", {A}));
        }}},
  };
  return Table;
}

class Call final : public Expr {
public:
  Call(std::string Name, std::vector<ExprPtr> Arguments)
      : Name(std::move(Name)), Arguments(std::move(Arguments)) {}

  double evaluate(const Scope &S) const override {
    if (Name == "if") {
      requireArguments(3);
      return Arguments[Arguments[0]->evaluate(S) != 0 ? 1 : 2]->evaluate(S);
    }
    auto It = builtins().find(Name);
    if (It != builtins().end()) {
      requireArguments(1);
      double Argument = Arguments[0]->evaluate(S);
      if (!It->second.Accepts(Argument))
        throw EvaluationError(Name + " is undefined at " + formatted(Argument));
      return It->second.Evaluate(Argument);
    }

    const Function &F = S.function(Name);
    requireArguments(F.Parameters.size());
    Scope Inner(&S);
    for (std::size_t I = 0; I < Arguments.size(); ++I)
      Inner.set(F.Parameters[I], Arguments[I]->evaluate(S));
    try {
      return F.Body->evaluate(Inner);
    } catch (const UnknownName &) {
      std::throw_with_nested(EvaluationError("while calling " + text()));
    }
  }

  ExprPtr derivative(const std::string &V) const override {
    auto It = builtins().find(Name);
    if (It == builtins().end() || Arguments.size() != 1)
      throw EvaluationError("cannot differentiate " + text());
    return binary('*', It->second.Derivative(Arguments[0]),
                  Arguments[0]->derivative(V));
  }

  std::string text() const override {
    std::string Result = Name + "(";
    for (std::size_t I = 0; I < Arguments.size(); ++I)
      Result += (I > 0 ? ", " : "") + Arguments[I]->text();
    return Result + ")";
  }

private:
  void requireArguments(std::size_t Count) const {
    if (Arguments.size() != Count)
      throw EvaluationError(Name + " takes " + std::to_string(Count) +
                            " arguments, not " +
                            std::to_string(Arguments.size()));
  }

  std::string Name;
  std::vector<ExprPtr> Arguments;
};

ExprPtr number(double Value) { return std::make_shared<Number>(Value); }

ExprPtr call(const std::string &Name, std::vector<ExprPtr> Arguments) {
  return std::make_shared<Call>(Name, std::move(Arguments));
}

// Folds constants and drops neutral operands, so that derivatives stay
// readable.
ExprPtr binary(char Op, ExprPtr Left, ExprPtr Right) {
  const double *A = Left->constant(), *B = Right->constant();
  auto IsLeft = [A](double X) { return A && *A == X; };
  auto IsRight = [B](double X) { return B && *B == X; };
  switch (Op) {
  case '+':
    if (IsLeft(0))
      return Right;
    [[fallthrough]];
  case '-':
    if (IsRight(0))
      return Left;
    break;
  case '*':
    if (IsLeft(0) || IsRight(1))
      return Left;
    if (IsRight(0) || IsLeft(1))
      return Right;
    break;
  case '/':
  case '^':
    if (IsRight(1))
      return Left;
    break;
  default:
    break;
  }
  auto Result = std::make_shared<Binary>(Op, std::move(Left), std::move(Right));
  if (A && B && !(Op == '/' && *B == 0))
    return number(Result->evaluate(Scope()));
  return Result;
}

class Parser {
public:
  explicit Parser(const std::string &Text) : Text(Text) { skipSpace(); }

  ExprPtr expression(int MinPrecedence = 0) {
    ExprPtr Left = prefix();
    for (;;) {
      char Op = peek();
      int Level = precedenceOf(Op);
      if (Level < 0 || Level < MinPrecedence)
        return Left;
      take();
      Left = binary(Op, Left, expression(Op == '^' ? Level : Level + 1));
    }
  }

  std::string name() {
    std::string Result;
    if (!std::isalpha(static_cast<unsigned char>(peek())))
      fail("expected a name");
    while (std::isalnum(static_cast<unsigned char>(peek())))
      Result += Text[Position++];
    skipSpace();
    return Result;
  }

  bool accept(char C) {
    if (peek() != C)
      return false;
    take();
    return true;
  }

  void expect(char C) {
    if (!accept(C))
      fail(std::string("expected '") + C + "'");
  }

  void expectEnd() {
    if (Position != Text.size())
      fail("unexpected text");
  }

  [[noreturn]] void fail(const std::string &Message) const {
    throw SyntaxError(Message, Position + 1);
  }

private:
  ExprPtr prefix() {
    if (accept('-'))
      return binary('*', number(-1), expression(4));
    if (accept('(')) {
      ExprPtr Inner = expression();
      expect(')');
      return Inner;
    }
    if (std::isdigit(static_cast<unsigned char>(peek()))) {
      const char *Start = Text.c_str() + Position;
      char *End = nullptr;
      double Value = std::strtod(Start, &End);
      Position += static_cast<std::size_t>(End - Start);
      skipSpace();
      return number(Value);
    }

    std::string Name = name();
    if (!accept('('))
      return std::make_shared<Variable>(Name);
    std::vector<ExprPtr> Arguments;
    if (!accept(')')) {
      do
        Arguments.push_back(expression());
      while (accept(','));
      expect(')');
    }
    return call(Name, std::move(Arguments));
  }

  char peek() const { return Position < Text.size() ? Text[Position] : 0; }
  void take() {
    ++Position;
    skipSpace();
  }
  void skipSpace() {
    while (peek() == ' ')
      ++Position;
  }

  const std::string &Text;
  std::size_t Position = 0;
};

// Runs "let name = e", "def name(a, b) = e", "diff e" (by x) or "e".
std::string execute(const std::string &Line, Scope &Global) {
  std::size_t Space = Line.find(' ');
  std::string Command = Line.substr(0, Space);
  bool HasCommand = Command == "let" || Command == "def" || Command == "diff";
  std::string Rest = HasCommand ? Line.substr(Space + 1) : Line;
  Parser P(Rest);

  if (Command == "let" || Command == "def") {
    std::string Name = P.name();
    Function F;
    if (Command == "def") {
      P.expect('(');
      do
        F.Parameters.push_back(P.name());
      while (P.accept(','));
      P.expect(')');
    }
    P.expect('=');
    F.Body = P.expression();
    P.expectEnd();
    std::string Shown = F.Body->text();
    if (Command == "let")
      Global.set(Name, F.Body->evaluate(Global));
    else
      Global.define(Name, std::move(F));
    return Name + " := " + Shown;
  }

  ExprPtr E = P.expression();
  P.expectEnd();
  if (Command == "diff")
    return E->derivative("x")->text();
  return E->text() + " -> " + formatted(E->evaluate(Global));
}

std::string describe(const std::exception &Error) {
  std::string Result = Error.what();
  try {
    std::rethrow_if_nested(Error);
  } catch (const std::exception &Inner) {
    Result += ": " + describe(Inner);
  }
  return Result;
}

struct Tally {
  int Good = 0, Syntax = 0, Evaluation = 0;
};

void runLine(const std::string &Line, Scope &Global, Tally &Counts) {
  std::string Outcome;
  try {
    Outcome = execute(Line, Global);
    ++Counts.Good;
  } catch (const SyntaxError &E) {
    Outcome = "syntax error in column " + std::to_string(E.column()) + ": " +
              E.what();
    ++Counts.Syntax;
  } catch (const EvaluationError &E) {
    Outcome = "error: " + describe(E);
    ++Counts.Evaluation;
  }
  std::printf("%s\n    %s\n", Line.c_str(), Outcome.c_str());
}

} // namespace

int main() {
  static const char *const Lines[] = {
      "1 + 2 * 3 - 4 / 8",
      "2 ^ 3 ^ 2 - -2 ^ 2",
      "(1 + x) * (1 - x)",
      "let x = 0.75",
      "(1 + x) * (1 - (x - 2))",
      "sin(x) ^ 2 + cos(x) ^ 2",
      "def hypot(a, b) = sqrt(a * a + b * b)",
      "hypot(3, 4) + hypot(5, 12)",
      "def fact(n) = if(n < 1, 1, n * fact(n - 1))",
      "fact(10)",
      "def newton(r, a, n) = if(n = 0, r, newton((r + a / r) / 2, a, n - 1))",
      "newton(1, 2, 8) - sqrt(2) < 0.000001",
      "diff 3 * x ^ 2 + 2 * x + 1",
      "diff sin(x ^ 2) / x",
      "diff exp(2 * x) * ln(x)",
      "diff x ^ x",
      "diff sqrt(1 + x ^ 2)",
      "1 / (x - 0.75)",
      "ln(x - 1)",
      "(x - 1) ^ 0.5",
      "hypot(1)",
      "def bad(a) = a + missing",
      "bad(bad(1))",
      "def loop(n) = loop(n + 1)",
      "loop(0)",
      "diff hypot(x, 1)",
      "1 +",
      "2 * (3 + 4",
      "let 5 = x",
      "sin(x) )",
      "3 $ 4",
  };
  Scope Global;
  Tally Counts;
  for (const char *Line : Lines)
    runLine(Line, Global, Counts);
  std::printf("%d good, %d syntax errors, %d evaluation errors\n", Counts.Good,
              Counts.Syntax, Counts.Evaluation);
  return Counts.Good == 18 && Counts.Syntax == 5 ? 0 : 1;
}
