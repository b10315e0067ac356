! SPDX-License-Identifier: Apache-2.0
!
! Dense linear algebra from scratch: LU with partial pivoting, Cholesky,
! cyclic Jacobi for all eigenpairs of a symmetric matrix, and inverse
! iteration for a single one. Residuals show that the results hold.

module dense
  implicit none
  private
  public :: dp, lu_factors, lu_factor, cholesky_factor, forward_solve
  public :: jacobi_eigen, nearest_eigenvalue, identity

  integer, parameter :: dp = kind(1.0d0)

  type :: lu_factors
    real(dp), allocatable :: lu(:, :)  ! unit lower and upper in one array
    integer, allocatable :: row(:)     ! row(i) of the matrix became row i
    integer :: sign = 1                ! of the permutation
    logical :: singular = .false.
  contains
    procedure :: solve => lu_solve
    procedure :: determinant => lu_determinant
    procedure :: inverse => lu_inverse
  end type lu_factors

  interface swap
    module procedure swap_integer, swap_vectors
  end interface swap

contains

  pure function identity(n) result(eye)
    integer, intent(in) :: n
    real(dp) :: eye(n, n)
    integer :: i

    eye = 0
    do i = 1, n
      eye(i, i) = 1
    end do
  end function identity

  pure subroutine swap_integer(a, b)
    integer, intent(inout) :: a, b
    integer :: held

    held = a
    a = b
    b = held
  end subroutine swap_integer

  pure subroutine swap_vectors(a, b)
    real(dp), intent(inout) :: a(:), b(:)
    real(dp) :: held(size(a))

    held = a
    a = b
    b = held
  end subroutine swap_vectors

  pure function lu_factor(a) result(f)
    real(dp), intent(in) :: a(:, :)
    type(lu_factors) :: f
    integer :: i, j, k, n, pivot

    n = size(a, 1)
    f%lu = a
    f%row = [(i, i = 1, n)]
    do k = 1, n
      pivot = k - 1 + maxloc(abs(f%lu(k:, k)), dim=1)
      if (abs(f%lu(pivot, k)) < tiny(1.0_dp)) then
        f%singular = .true.
        return
      end if
      if (pivot /= k) then
        call swap(f%lu(pivot, :), f%lu(k, :))
        call swap(f%row(pivot), f%row(k))
        f%sign = -f%sign
      end if
      f%lu(k + 1:, k) = f%lu(k + 1:, k) / f%lu(k, k)
      do j = k + 1, n
        f%lu(k + 1:, j) = f%lu(k + 1:, j) - f%lu(k + 1:, k) * f%lu(k, j)
      end do
    end do
  end function lu_factor

  pure function lu_solve(self, b) result(x)
    class(lu_factors), intent(in) :: self
    real(dp), intent(in) :: b(:)
    real(dp) :: x(size(b))
    integer :: i, n

    n = size(b)
    do i = 1, n
      x(i) = b(self%row(i)) - dot_product(self%lu(i, :i - 1), x(:i - 1))
    end do
    do i = n, 1, -1
      x(i) = (x(i) - dot_product(self%lu(i, i + 1:), x(i + 1:))) &
             / self%lu(i, i)
    end do
  end function lu_solve

  pure function lu_determinant(self) result(det)
    class(lu_factors), intent(in) :: self
    real(dp) :: det
    integer :: i

    det = merge(0, self%sign, self%singular)
    if (self%singular) return
    do i = 1, size(self%lu, 1)
      det = det * self%lu(i, i)
    end do
  end function lu_determinant

  pure function lu_inverse(self) result(inv)
    class(lu_factors), intent(in) :: self
    real(dp) :: inv(size(self%lu, 1), size(self%lu, 1))
    integer :: j

    inv = identity(size(inv, 1))
    do j = 1, size(inv, 2)
      inv(:, j) = self%solve(inv(:, j))
    end do
  end function lu_inverse

  ! Only the lower triangle of the matrix is read. The column where the
  ! matrix turns out not to be positive definite is returned, or 0.
  pure subroutine cholesky_factor(a, l, bad_column)
    real(dp), intent(in) :: a(:, :)
    real(dp), intent(out) :: l(size(a, 1), size(a, 1))
    integer, intent(out) :: bad_column
    real(dp) :: square
    integer :: i, j, n

    n = size(a, 1)
    l = 0
    bad_column = 0
    do j = 1, n
      square = a(j, j) - dot_product(l(j, :j - 1), l(j, :j - 1))
      if (square <= 0) then
        bad_column = j
        return
      end if
      l(j, j) = sqrt(square)
      do i = j + 1, n
        l(i, j) = (a(i, j) - dot_product(l(i, :j - 1), l(j, :j - 1))) &
                  / l(j, j)
      end do
    end do
  end subroutine cholesky_factor

  pure function forward_solve(l, b) result(x)
    real(dp), intent(in) :: l(:, :), b(:)
    real(dp) :: x(size(b))
    integer :: i

    do i = 1, size(b)
      x(i) = (b(i) - dot_product(l(i, :i - 1), x(:i - 1))) / l(i, i)
    end do
  end function forward_solve

  ! Rotates the largest part of the off-diagonal away until none is left.
  ! Eigenvalues come out in ascending order, eigenvectors as columns.
  pure subroutine jacobi_eigen(matrix, values, vectors, sweeps)
    real(dp), intent(in) :: matrix(:, :)
    real(dp), intent(out) :: values(size(matrix, 1))
    real(dp), intent(out) :: vectors(size(matrix, 1), size(matrix, 1))
    integer, intent(out) :: sweeps
    integer, parameter :: max_sweeps = 30
    real(dp) :: a(size(matrix, 1), size(matrix, 1)), scale
    integer :: p, q, n, best

    n = size(matrix, 1)
    a = matrix
    vectors = identity(n)
    scale = maxval(abs(a))
    do sweeps = 0, max_sweeps
      if (off_diagonal(a) <= 1e-13_dp * scale) exit
      do p = 1, n - 1
        do q = p + 1, n
          if (abs(a(p, q)) > tiny(scale)) call rotate(a, vectors, p, q)
        end do
      end do
    end do

    values = [(a(p, p), p = 1, n)]
    do p = 1, n - 1
      best = p - 1 + minloc(values(p:), dim=1)
      if (best == p) cycle
      values([p, best]) = values([best, p])
      call swap(vectors(:, p), vectors(:, best))
    end do
  end subroutine jacobi_eigen

  pure function off_diagonal(a) result(largest)
    real(dp), intent(in) :: a(:, :)
    real(dp) :: largest
    integer :: j

    largest = 0
    do j = 2, size(a, 2)
      largest = max(largest, maxval(abs(a(:j - 1, j))))
    end do
  end function off_diagonal

  ! Applies the rotation in the (p, q) plane that makes a(p, q) zero.
  pure subroutine rotate(a, vectors, p, q)
    real(dp), intent(inout) :: a(:, :), vectors(:, :)
    integer, intent(in) :: p, q
    real(dp) :: theta, t, c, s

    theta = (a(q, q) - a(p, p)) / (2 * a(p, q))
    t = sign(1.0_dp, theta) / (abs(theta) + sqrt(theta**2 + 1))
    c = 1 / sqrt(t**2 + 1)
    s = t * c
    call combine(a(:, p), a(:, q), c, s)
    call combine(a(p, :), a(q, :), c, s)
    call combine(vectors(:, p), vectors(:, q), c, s)
  end subroutine rotate

  elemental subroutine combine(x, y, c, s)
    real(dp), intent(inout) :: x, y
    real(dp), intent(in) :: c, s
    real(dp) :: old

    old = x
    x = c * old - s * y
    y = s * old + c * y
  end subroutine combine

  ! Inverse iteration: converges to the eigenvalue nearest to the shift.
  pure subroutine nearest_eigenvalue(a, shift, value, residual)
    real(dp), intent(in) :: a(:, :), shift
    real(dp), intent(out) :: value, residual
    type(lu_factors) :: f
    real(dp) :: x(size(a, 1))
    integer :: i, iteration

    f = lu_factor(a - shift * identity(size(a, 1)))
    x = [(1 + 0.1_dp * i, i = 1, size(x))]
    do iteration = 1, 50
      x = f%solve(x)
      x = x / norm2(x)
    end do
    value = dot_product(x, matmul(a, x))
    residual = norm2(matmul(a, x) - value * x)
  end subroutine nearest_eigenvalue

end module dense

program linalg
  use, intrinsic :: iso_fortran_env, only: int64
  use dense
  implicit none
  logical :: passed

  passed = .true.
  call test_lu()
  call test_singular()
  call test_cholesky()
  call test_eigenvalues()
  if (.not. passed) error stop 'FAILED'
  print '(a)', 'all residuals are small'

contains

  subroutine check(what, residual)
    character(len=*), intent(in) :: what
    real(dp), intent(in) :: residual
    logical :: small

    small = residual < 1e-9_dp
    print '(3a, l1)', '  ', what, ': ', small
    passed = passed .and. small
  end subroutine check

  function random_matrix(n, seed) result(a)
    integer, intent(in) :: n
    integer(int64), intent(in) :: seed
    real(dp) :: a(n, n)
    integer(int64) :: state
    integer :: i, j

    state = seed
    do j = 1, n
      do i = 1, n
        state = mod(state * 48271_int64, 2147483647_int64)
        a(i, j) = real(state, dp) / 1073741823.5_dp - 1
      end do
    end do
  end function random_matrix

  ! The second difference, whose eigenvalues are 4 sin(k pi / (2 (n + 1)))**2.
  pure function second_difference(n) result(a)
    integer, intent(in) :: n
    real(dp) :: a(n, n)
    integer :: i

    a = 2 * identity(n)
    do i = 1, n - 1
      a(i, i + 1) = -1
      a(i + 1, i) = -1
    end do
  end function second_difference

  subroutine test_lu()
    integer, parameter :: n = 40
    real(dp) :: a(n, n), b(n), x(n)
    type(lu_factors) :: f
    integer :: i

    a = random_matrix(n, 20240229_int64)
    b = [(sin(real(i, dp)), i = 1, n)]
    f = lu_factor(a)
    x = f%solve(b)
    print '(a, 3f10.4)', 'lu: x(1:3)', x(1:3)
    print '(a, es12.4, a, i0)', '  determinant', f%determinant(), &
      ', sign ', f%sign
    call check('solution', maxval(abs(matmul(a, x) - b)))
    call check('inverse', &
               maxval(abs(matmul(f%inverse(), a) - identity(n))))
    call check('factors', maxval(abs(product_of(f) - a(f%row, :))))
  end subroutine test_lu

  pure function product_of(f) result(a)
    type(lu_factors), intent(in) :: f
    real(dp) :: a(size(f%lu, 1), size(f%lu, 1))
    integer :: i, j, k

    do j = 1, size(a, 2)
      do i = 1, size(a, 1)
        k = min(i - 1, j)
        a(i, j) = dot_product(f%lu(i, :k), f%lu(:k, j))
        if (i <= j) a(i, j) = a(i, j) + f%lu(i, j)
      end do
    end do
  end function product_of

  subroutine test_singular()
    type(lu_factors) :: f
    real(dp) :: dependent(4, 4)

    dependent = reshape([real(dp) :: 1, 2, 3, 4, 2, 4, 6, 8, 0, 1, 0, 1, &
                         5, 0, 0, 5], [4, 4])
    f = lu_factor(dependent)
    print '(a, l1, a, f4.1)', 'singular: ', f%singular, ', determinant', &
      f%determinant()
    passed = passed .and. f%singular
  end subroutine test_singular

  subroutine test_cholesky()
    integer, parameter :: n = 30
    real(dp) :: a(n, n), l(n, n), y(n), r(n, n)
    integer :: bad_column, i

    r = random_matrix(n, 7_int64)
    a = matmul(transpose(r), r) + 0.5_dp * identity(n)
    call cholesky_factor(a, l, bad_column)
    y = forward_solve(l, [(1.0_dp, i = 1, n)])
    print '(a, 3f9.4, a, f9.5)', 'cholesky: diagonal', &
      (l(i, i), i = 1, 3), ', energy', dot_product(y, y)
    passed = passed .and. bad_column == 0
    call check('product', maxval(abs(matmul(l, transpose(l)) - a)))
    call check('triangle', maxval(abs(matmul(l, y) - 1)))
    a(12, 12) = -1
    call cholesky_factor(a, l, bad_column)
    print '(a, i0)', '  indefinite from column ', bad_column
    passed = passed .and. bad_column == 12
  end subroutine test_cholesky

  subroutine test_eigenvalues()
    integer, parameter :: n = 16
    real(dp), parameter :: pi = 3.14159265358979324_dp
    real(dp) :: a(n, n), values(n), vectors(n, n), exact(n), value, residual
    integer :: i, j, sweeps

    a = second_difference(n)
    call jacobi_eigen(a, values, vectors, sweeps)
    exact = [(4 * sin(i * pi / (2 * (n + 1)))**2, i = 1, n)]
    print '(a, 4f9.5)', 'eigenvalues', values(:4)
    call check('known values', maxval(abs(values - exact)))

    a = random_matrix(n, 99_int64)
    a = (a + transpose(a)) / 2
    call jacobi_eigen(a, values, vectors, sweeps)
    print '(a, 2f9.5, a, f9.5)', 'random symmetric', values(1), values(n), &
      ', trace', sum(values)
    call check('pairs', maxval(abs(matmul(a, vectors) &
                                   - vectors * spread(values, 1, n))))
    call check('orthogonality', maxval(abs( &
               matmul(transpose(vectors), vectors) - identity(n))))
    call check('few sweeps', merge(0.0_dp, 1.0_dp, sweeps <= 12))
    do j = 1, n, 5
      call nearest_eigenvalue(a, values(j) + 1e-3_dp, value, residual)
      print '(a, f9.5)', '  inverse iteration finds', value
      call check('residual', max(residual, abs(value - values(j))))
    end do
  end subroutine test_eigenvalues

end program linalg
