// SPDX-License-Identifier: Apache-2.0

//! Conway's Game of Life with the rule given as an expression. A tokenizer and
//! the shunting-yard algorithm turn "n == 3 | alive & n == 2" into reverse
//! Polish notation, which decides the fate of every cell.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::iter::Peekable;
use std::panic;
use std::str::{CharIndices, FromStr};

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(i64),
    Name(String),
    Operator(&'static str),
    Open,
    Close,
}

#[derive(Debug, PartialEq)]
enum ExprError {
    BadCharacter(char, usize),
    NumberTooLarge(usize),
    UnbalancedParenthesis,
    MissingOperand,
    MissingOperator,
    UnknownName(String),
    DivisionByZero,
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ExprError::*;
        match self {
            BadCharacter(c, at) => write!(f, "unexpected {:?} at {}", c, at),
            NumberTooLarge(at) => write!(f, "number too large at {}", at),
            UnbalancedParenthesis => f.write_str("unbalanced parenthesis"),
            MissingOperand => f.write_str("missing operand"),
            MissingOperator => f.write_str("missing operator"),
            UnknownName(name) => write!(f, "unknown name {}", name),
            DivisionByZero => f.write_str("division by zero"),
        }
    }
}

/// Longer operators come first, so that they win over their own prefixes.
const OPERATORS: [(&str, u8); 14] = [
    ("==", 3),
    ("!=", 3),
    ("<=", 3),
    (">=", 3),
    ("<", 3),
    (">", 3),
    ("|", 1),
    ("&", 2),
    ("+", 4),
    ("-", 4),
    ("*", 5),
    ("/", 5),
    ("%", 5),
    ("!", UNARY),
];
const UNARY: u8 = 6;

fn precedence(operator: &str) -> u8 {
    let known = OPERATORS.iter().find(|(symbol, _)| *symbol == operator);
    known.map_or(UNARY, |&(_, level)| level)
}

struct Tokenizer<'a> {
    source: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Tokenizer<'a> {
    fn new(source: &'a str) -> Self {
        let chars = source.char_indices().peekable();
        Tokenizer { source, chars }
    }

    fn take_while(&mut self, start: usize, accept: impl Fn(char) -> bool) -> &'a str {
        let mut end = start;
        while let Some((at, c)) = self.chars.next_if(|&(_, c)| accept(c)) {
            end = at + c.len_utf8();
        }
        &self.source[start..end]
    }
}

impl Iterator for Tokenizer<'_> {
    type Item = Result<Token, ExprError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.chars.next_if(|&(_, c)| c.is_whitespace()).is_some() {}
        let &(at, c) = self.chars.peek()?;
        if c.is_ascii_digit() {
            let digits = self.take_while(at, |c| c.is_ascii_digit());
            let number = digits.parse().map(Token::Number);
            return Some(number.map_err(|_| ExprError::NumberTooLarge(at)));
        }
        if c.is_alphabetic() {
            let name = self.take_while(at, char::is_alphanumeric);
            return Some(Ok(Token::Name(name.to_string())));
        }
        self.chars.next();
        if c == '(' || c == ')' {
            let token = if c == '(' { Token::Open } else { Token::Close };
            return Some(Ok(token));
        }
        let rest = &self.source[at..];
        let operator = OPERATORS.iter().find(|(text, _)| rest.starts_with(text));
        Some(match operator {
            Some(&(text, _)) => {
                if text.len() == 2 {
                    self.chars.next();
                }
                Ok(Token::Operator(text))
            }
            None => Err(ExprError::BadCharacter(c, at)),
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Push(i64),
    Load(String),
    Apply(&'static str),
}

/// An expression in reverse Polish notation.
#[derive(Debug, Clone, PartialEq)]
struct Program(Vec<Step>);

const NEGATE: &str = "neg";

fn is_prefix(operator: &str) -> bool {
    operator == NEGATE || operator == "!"
}

impl FromStr for Program {
    type Err = ExprError;

    fn from_str(source: &str) -> Result<Self, ExprError> {
        let mut output = Vec::new();
        let mut waiting: Vec<Token> = Vec::new();
        let mut after_operand = false;
        for token in Tokenizer::new(source) {
            let token = token?;
            let starts_operand = match token {
                Token::Operator(text) => text == "!" || (text == "-" && !after_operand),
                Token::Close => false,
                _ => true,
            };
            match (starts_operand, after_operand) {
                (true, true) => return Err(ExprError::MissingOperator),
                (false, false) => return Err(ExprError::MissingOperand),
                _ => {}
            }
            match token {
                Token::Number(value) => output.push(Step::Push(value)),
                Token::Name(ref name) => output.push(Step::Load(name.clone())),
                Token::Open => waiting.push(Token::Open),
                Token::Close => loop {
                    match waiting.pop() {
                        Some(Token::Operator(text)) => output.push(Step::Apply(text)),
                        Some(_) => break,
                        None => return Err(ExprError::UnbalancedParenthesis),
                    }
                },
                Token::Operator("-") if !after_operand => waiting.push(Token::Operator(NEGATE)),
                Token::Operator(text) => {
                    while let Some(&Token::Operator(top)) = waiting.last() {
                        if is_prefix(text) || precedence(top) < precedence(text) {
                            break;
                        }
                        output.push(Step::Apply(top));
                        waiting.pop();
                    }
                    waiting.push(Token::Operator(text));
                }
            }
            after_operand = matches!(token, Token::Number(_) | Token::Name(_) | Token::Close);
        }
        if !after_operand {
            return Err(ExprError::MissingOperand);
        }
        while let Some(token) = waiting.pop() {
            match token {
                Token::Operator(text) => output.push(Step::Apply(text)),
                _ => return Err(ExprError::UnbalancedParenthesis),
            }
        }
        Ok(Program(output))
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.iter().map(|step| match step {
            Step::Push(value) => value.to_string(),
            Step::Load(name) => name.clone(),
            Step::Apply(operator) => operator.to_string(),
        });
        f.write_str(&words.collect::<Vec<_>>().join(" "))
    }
}

impl Program {
    /// Runs the program with `lookup` giving the values of names.
    fn eval(&self, lookup: impl Fn(&str) -> Option<i64>) -> Result<i64, ExprError> {
        let mut stack: Vec<i64> = Vec::with_capacity(8);
        for step in &self.0 {
            let value = match step {
                Step::Push(value) => *value,
                Step::Load(name) => {
                    lookup(name).ok_or_else(|| ExprError::UnknownName(name.clone()))?
                }
                Step::Apply(operator) => {
                    let right = stack.pop().ok_or(ExprError::MissingOperand)?;
                    if is_prefix(operator) {
                        apply(operator, 0, right)?
                    } else {
                        let left = stack.pop().ok_or(ExprError::MissingOperand)?;
                        apply(operator, left, right)?
                    }
                }
            };
            stack.push(value);
        }
        stack.pop().ok_or(ExprError::MissingOperand)
    }
}

fn apply(operator: &str, left: i64, right: i64) -> Result<i64, ExprError> {
    Ok(match operator {
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "*" => left.wrapping_mul(right),
        "/" | "%" if right == 0 => return Err(ExprError::DivisionByZero),
        "/" => left.wrapping_div(right),
        "%" => left.wrapping_rem(right),
        "<" => i64::from(left < right),
        ">" => i64::from(left > right),
        "<=" => i64::from(left <= right),
        ">=" => i64::from(left >= right),
        "==" => i64::from(left == right),
        "!=" => i64::from(left != right),
        "&" => i64::from(left != 0 && right != 0),
        "|" => i64::from(left != 0 || right != 0),
        "!" => i64::from(right == 0),
        NEGATE => right.wrapping_neg(),
        _ => unreachable!("the tokenizer knows no operator {}", operator),
    })
}

/// A board whose edges wrap around.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Board {
    width: usize,
    height: usize,
    cells: Vec<bool>,
}

impl Board {
    fn new(width: usize, height: usize) -> Self {
        assert!(width > 2 && height > 2, "a cell must not meet itself");
        Board {
            width,
            height,
            cells: vec![false; width * height],
        }
    }

    fn with_pattern(mut self, left: usize, top: usize, pattern: &str) -> Self {
        for (y, line) in pattern.split('/').enumerate() {
            for (x, _) in line.char_indices().filter(|&(_, c)| c == 'O') {
                let index = self.index(left + x, top + y);
                self.cells[index] = true;
            }
        }
        self
    }

    fn index(&self, x: usize, y: usize) -> usize {
        y % self.height * self.width + x % self.width
    }

    fn neighbours(&self, x: usize, y: usize) -> usize {
        let (w, h) = (self.width, self.height);
        [h - 1, 0, 1]
            .into_iter()
            .flat_map(|dy| [w - 1, 0, 1].map(|dx| (dx, dy)))
            .filter(|&offset| offset != (0, 0))
            .filter(|&(dx, dy)| self.cells[self.index(x + dx, y + dy)])
            .count()
    }

    fn step(&self, rule: &Rule) -> Self {
        let cells = (0..self.width * self.height)
            .map(|i| {
                let (x, y) = (i % self.width, i / self.width);
                rule.survives(self.cells[i], self.neighbours(x, y))
            })
            .collect();
        Board {
            cells,
            ..self.clone()
        }
    }

    fn population(&self) -> usize {
        self.cells.iter().filter(|&&alive| alive).count()
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cells.chunks(self.width).try_for_each(|row| {
            let line: String = row.iter().map(|&c| if c { 'O' } else { '.' }).collect();
            writeln!(f, "  {}", line)
        })
    }
}

/// A rule tabulated for all neighbourhoods, as a board asks far more often
/// than there are different questions.
struct Rule {
    table: [[bool; 9]; 2],
}

impl Rule {
    fn new(program: &Program) -> Result<Self, ExprError> {
        let mut table = [[false; 9]; 2];
        for (alive, row) in table.iter_mut().enumerate() {
            for (n, survives) in row.iter_mut().enumerate() {
                let value = program.eval(|name| match name {
                    "n" => Some(n as i64),
                    "alive" => Some(alive as i64),
                    _ => None,
                })?;
                *survives = value != 0;
            }
        }
        Ok(Rule { table })
    }

    fn survives(&self, alive: bool, neighbours: usize) -> bool {
        self.table[usize::from(alive)][neighbours]
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = |row: &[bool; 9]| -> String {
            let counts = row.iter().enumerate().filter(|(_, &on)| on);
            counts.map(|(n, _)| n.to_string()).collect()
        };
        write!(f, "B{}/S{}", digits(&self.table[0]), digits(&self.table[1]))
    }
}

/// Runs until a board repeats; returns the steps before the cycle, the length
/// of the cycle and the last board.
fn find_cycle(start: Board, rule: &Rule, limit: usize) -> Option<(usize, usize, Board)> {
    let mut seen = HashMap::new();
    std::iter::successors(Some(start), |board| Some(board.step(rule)))
        .take(limit)
        .enumerate()
        .find_map(|(time, board)| {
            let first = *seen.entry(board.clone()).or_insert(time);
            (first < time).then(|| (first, time - first, board))
        })
}

fn demonstrate_expressions() {
    let variables: BTreeMap<&str, i64> = [("x", 7), ("y", -3), ("zero", 0)].into();
    let sources = [
        "1 + 2 * 3 - 4",
        "(1 + 2) * (3 - 4)",
        "-x * -y % 5",
        "x > 5 & y < 0 | zero",
        "!(x == 7) | !!x",
        "100 / 7 / 2 >= 7",
        "9223372036854775807 + x",
        "x / zero",
        "1 + w",
        "2 * (3 + 4",
        "2 + 3)",
        "2 +",
        "x y",
        "()",
        "3 # 4",
        "99999999999999999999",
    ];
    for source in sources {
        let program: Result<Program, _> = source.parse();
        let value = program.and_then(|p| {
            let value = p.eval(|name| variables.get(name).copied())?;
            Ok((p, value))
        });
        match value {
            Ok((program, value)) => println!("{} -> {} -> {}", source, program, value),
            Err(error) => println!("{} -> error: {}", source, error),
        }
    }
}

fn demonstrate_life() -> Result<(), ExprError> {
    let sources = [
        ("life", "n == 3 | alive & n == 2"),
        ("highlife", "n == 3 | alive & n == 2 | !alive & n == 6"),
        ("seeds", "!alive & n == 2"),
        ("replicator", "n % 2"),
    ];
    for (name, source) in sources {
        let rule = Rule::new(&source.parse()?)?;
        println!("{} is {}", name, rule);
        let boards = [
            ("glider", Board::new(8, 8).with_pattern(1, 1, ".O/..O/OOO")),
            (
                "r-pentomino",
                Board::new(16, 16).with_pattern(7, 7, ".OO/OO/.O"),
            ),
            (
                "acorn",
                Board::new(20, 14).with_pattern(6, 6, ".O/...O/OO..OOO"),
            ),
        ];
        for (pattern, board) in boards {
            match find_cycle(board, &rule, 70) {
                None => println!("  {}: no cycle", pattern),
                Some((start, length, last)) => println!(
                    "  {}: cycle of {} from {}, {} alive",
                    pattern,
                    length,
                    start,
                    last.population()
                ),
            }
        }
    }

    let rule = Rule::new(&"n == 3 | alive & n == 2".parse()?)?;
    let glider = Board::new(9, 9).with_pattern(0, 0, ".O/..O/OOO");
    let path: HashSet<Board> = std::iter::successors(Some(glider.clone()), |b| Some(b.step(&rule)))
        .take(100)
        .collect();
    let later = (0..10).fold(glider, |board, _| board.step(&rule));
    print!(
        "{} different boards, after 10 steps:\n{}",
        path.len(),
        later
    );
    Ok(())
}

/// A panic must unwind past live values without losing what follows it.
fn demonstrate_panic() {
    struct Announce<'a>(&'a str);
    impl Drop for Announce<'_> {
        fn drop(&mut self) {
            println!("dropped {}", self.0);
        }
    }

    let report = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(|| {
        let _outer = Announce("outer");
        let sizes = [5, 4, 3, 2];
        sizes.map(|size| {
            let _inner = Announce("inner");
            Board::new(size, size).population()
        })
    });
    panic::set_hook(report);
    match outcome {
        Ok(populations) => println!("no panic: {:?}", populations),
        Err(payload) => match payload.downcast_ref::<&str>() {
            Some(message) => println!("caught: {}", message),
            None => println!("caught something else"),
        },
    }
}

fn main() -> Result<(), String> {
    demonstrate_expressions();
    demonstrate_life().map_err(|e| e.to_string())?;
    demonstrate_panic();
    Ok(())
}
