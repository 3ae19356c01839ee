package main

import (
	"crypto/sha256"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// finder finds the places of a file that can be mutated.
type finder struct {
	*source
	part     string
	next     int
	found    []*mutant
	function string         // the one we are in
	hash     string         // of it
	seen     map[string]int // how often a description occurred, to number them
}

func (f *finder) find() {
	for _, decl := range f.file.Decls {
		if fn, is := decl.(*ast.FuncDecl); is && fn.Body != nil {
			f.function = fn.Name.Name
			if fn.Recv != nil {
				f.function = strings.TrimLeft(f.of(fn.Recv.List[0].Type), "*") + "." + f.function
			}
			f.hash = fmt.Sprintf("%x", sha256.Sum256([]byte(f.of(fn))))[:16]
			f.block(fn.Body.List, true)
			f.walk(fn.Body)
		}
	}
}

// walk looks at all expressions and blocks within a function.
func (f *finder) walk(body ast.Node) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			f.block(n.Body.List, true)
		case *ast.IfStmt:
			f.negate(n.Cond)
		case *ast.ForStmt:
			if n.Cond != nil {
				f.negate(n.Cond)
			}
		case *ast.SwitchStmt:
			if n.Tag == nil {
				for _, c := range n.Body.List {
					for _, cond := range c.(*ast.CaseClause).List {
						f.negate(cond)
					}
				}
			}
		case *ast.BinaryExpr:
			f.binary(n)
		case *ast.ReturnStmt:
			f.results(n)
		}
		return true
	})
}

// block looks at the statements of a block, and of those inside it. One that ends
// the function must not lose its return.
func (f *finder) block(list []ast.Stmt, ends bool) {
	for i, stmt := range list {
		last := ends && i == len(list)-1
		f.statement(stmt, last)
		f.inner(stmt, last)
	}
}

// inner looks at the blocks of a statement.
func (f *finder) inner(stmt ast.Stmt, last bool) {
	switch s := stmt.(type) {
	case *ast.BlockStmt:
		f.block(s.List, last)
	case *ast.LabeledStmt:
		f.inner(s.Stmt, last)
	case *ast.ForStmt:
		f.block(s.Body.List, false)
	case *ast.RangeStmt:
		f.block(s.Body.List, false)
	case *ast.IfStmt:
		ends := last && s.Else != nil
		f.block(s.Body.List, ends)
		if s.Else != nil {
			f.inner(s.Else, ends)
		}
	case *ast.SwitchStmt:
		f.clauses(s.Body, last)
	case *ast.TypeSwitchStmt:
		f.clauses(s.Body, last)
	case *ast.SelectStmt:
		f.clauses(s.Body, last)
	}
}

func (f *finder) clauses(body *ast.BlockStmt, last bool) {
	for _, c := range body.List {
		switch c := c.(type) {
		case *ast.CaseClause:
			f.block(c.Body, last)
		case *ast.CommClause:
			f.block(c.Body, last)
		}
	}
}

// statement has a mutant that leaves a statement out.
func (f *finder) statement(stmt ast.Stmt, last bool) {
	switch s := stmt.(type) {
	case *ast.ExprStmt:
		if call, is := s.X.(*ast.CallExpr); is && last && f.of(call.Fun) == "panic" {
			return
		}
	case *ast.IncDecStmt, *ast.SendStmt, *ast.DeferStmt, *ast.GoStmt:
	case *ast.AssignStmt:
		if s.Tok == token.DEFINE || f.of(s.Lhs[0]) == "_" {
			return
		}
	case *ast.BranchStmt:
		if s.Tok == token.FALLTHROUGH || s.Tok == token.GOTO || last {
			return
		}
	case *ast.ReturnStmt:
		if last {
			return
		}
	default:
		return
	}
	id := f.add(stmt, "leave out", "")
	from, to := f.offset(stmt.Pos()), f.offset(stmt.End())
	f.edit(from, to, func(inner func(int, int) string) string {
		return fmt.Sprintf("if !mutant.On(%d) { %s }", id, inner(from, to))
	})
}

// negate has a mutant of a condition that is the opposite.
func (f *finder) negate(cond ast.Expr) {
	id := f.add(cond, "negate", "!("+f.of(cond)+")")
	from, to := f.offset(cond.Pos()), f.offset(cond.End())
	f.edit(from, to, func(inner func(int, int) string) string {
		return fmt.Sprintf("mutant.On(%d) != (%s)", id, inner(from, to))
	})
}

// near are the operators that a boundary is moved to.
var near = map[token.Token]string{token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}

// binary has the mutants of an operator.
func (f *finder) binary(e *ast.BinaryExpr) {
	tv := f.info.Types[e]
	if tv.Value != nil {
		return // a constant
	}
	switch e.Op {
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		to := near[e.Op]
		id := f.add(e, e.Op.String()+" to "+to, f.of(e.X)+" "+to+" "+f.of(e.Y))
		f.operands(e, func(x, y string) string {
			return fmt.Sprintf("(mutant.On(%[1]d) && (%[2]s %[3]s %[4]s) || !mutant.On(%[1]d) && (%[2]s %[5]s %[4]s))", id, x, to, y, e.Op)
		})
	case token.LAND, token.LOR:
		left := f.add(e.X, "leave out of "+e.Op.String(), f.neutral(e.Op))
		right := f.add(e.Y, "leave out of "+e.Op.String(), f.neutral(e.Op))
		form := "((mutant.On(%d) || (%s)) && (mutant.On(%d) || (%s)))"
		if e.Op == token.LOR {
			form = "(!mutant.On(%d) && (%s) || !mutant.On(%d) && (%s))"
		}
		f.operands(e, func(x, y string) string { return fmt.Sprintf(form, left, x, right, y) })
	case token.ADD, token.SUB:
		basic, is := tv.Type.Underlying().(*types.Basic)
		if !is || basic.Info()&types.IsNumeric == 0 || basic.Info()&types.IsUntyped != 0 || calls(e) {
			return
		}
		to := map[token.Token]string{token.ADD: "-", token.SUB: "+"}[e.Op]
		id := f.add(e, e.Op.String()+" to "+to, f.of(e.X)+" "+to+" "+f.of(e.Y))
		f.operands(e, func(x, y string) string {
			return fmt.Sprintf("mutant.Pick(%d, %s %s %s, %s %s %s)", id, x, e.Op, y, x, to, y)
		})
	}
}

func (f *finder) neutral(op token.Token) string {
	if op == token.LAND {
		return "true"
	}
	return "false"
}

// calls reports whether an expression does more than compute.
func calls(e ast.Expr) (found bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			found = true
		case *ast.UnaryExpr:
			found = found || n.Op == token.ARROW
		case *ast.CallExpr:
			name, is := n.Fun.(*ast.Ident)
			found = found || !is || !strings.Contains(" len cap min max int int64 uint64 float64 ", " "+name.Name+" ")
		}
		return !found
	})
	return found
}

// results has the mutants of what a function returns: a bool that is the opposite,
// an error that is swallowed.
func (f *finder) results(r *ast.ReturnStmt) {
	for _, e := range r.Results {
		tv := f.info.Types[e]
		if tv.Type == nil || tv.IsNil() {
			continue
		}
		from, to := f.offset(e.Pos()), f.offset(e.End())
		switch basic, _ := tv.Type.Underlying().(*types.Basic); {
		case basic != nil && basic.Info()&types.IsBoolean != 0:
			if _, named := tv.Type.(*types.Named); named {
				continue
			}
			id := f.add(e, "negate", "!("+f.of(e)+")")
			f.edit(from, to, func(inner func(int, int) string) string {
				return fmt.Sprintf("mutant.On(%d) != (%s)", id, inner(from, to))
			})
		case tv.Type.String() == "error":
			id := f.add(e, "swallow", "nil")
			f.edit(from, to, func(inner func(int, int) string) string {
				return fmt.Sprintf("mutant.Err(%d, %s)", id, inner(from, to))
			})
		}
	}
}

func (f *finder) edit(from, to int, with func(inner func(from, to int) string) string) {
	f.edits = append(f.edits, edit{from, to, with})
}

func (f *finder) operands(e *ast.BinaryExpr, with func(x, y string) string) {
	f.edit(f.offset(e.Pos()), f.offset(e.End()), func(inner func(int, int) string) string {
		return with(inner(f.offset(e.X.Pos()), f.offset(e.X.End())), inner(f.offset(e.Y.Pos()), f.offset(e.Y.End())))
	})
}

// add describes a mutant, and returns its id.
func (f *finder) add(n ast.Node, what, instead string) int {
	from, to := f.offset(n.Pos()), f.offset(n.End())
	begin := strings.LastIndexByte(string(f.text[:from]), '\n') + 1
	end := to + strings.IndexByte(string(f.text[to:]), '\n')
	text := strings.Join(strings.Fields(f.of(n)), " ")
	if len(text) > 80 {
		text = text[:77] + "..."
	}
	key := fmt.Sprintf("%s %s: %s: %s", f.path, f.function, what, text)
	if f.seen[key]++; f.seen[key] > 1 {
		key += fmt.Sprintf(" #%d", f.seen[key])
	}
	m := &mutant{
		id: f.next, key: key, part: f.part, file: f.path, line: f.fset.Position(n.Pos()).Line, code: f.hash,
		was: string(f.text[begin:end]), is: string(f.text[begin:from]) + instead + string(f.text[to:end]),
	}
	f.next++
	f.found = append(f.found, m)
	return m.id
}
