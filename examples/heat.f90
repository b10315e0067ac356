! SPDX-License-Identifier: Apache-2.0
!
! The heat equation on the unit square, stepped by an explicit scheme and by
! the alternating direction implicit scheme of Peaceman and Rachford. Both are
! compared with an exact solution, and a hot spot relaxes in a plate with
! insulated edges.

module heat_grid
  implicit none
  private
  public :: dp, pi, grid, make_grid, eigenmode, explicit_step, adi_step
  public :: total_heat, error_norm

  integer, parameter :: dp = kind(1.0d0)
  real(dp), parameter :: pi = 3.14159265358979324_dp

  integer, parameter, public :: edge_cold = 1, edge_insulated = 2

  type :: grid
    integer :: n = 0             ! interior points along each axis
    integer :: edge = edge_cold
    real(dp) :: h = 0            ! spacing of the points
    real(dp) :: time = 0
    real(dp), allocatable :: u(:, :)  ! with a ring of edge points around
  contains
    procedure :: sample
    procedure :: refresh_edges
  end type grid

  abstract interface
    pure function field(x, y) result(value)
      import :: dp
      real(dp), intent(in) :: x, y
      real(dp) :: value
    end function field
  end interface

contains

  pure function make_grid(n, edge, start) result(g)
    integer, intent(in) :: n, edge
    procedure(field) :: start
    type(grid) :: g

    g%n = n
    g%edge = edge
    g%h = 1.0_dp / (n + 1)
    allocate (g%u(0:n + 1, 0:n + 1))
    call g%sample(start)
    call g%refresh_edges()
  end function make_grid

  pure subroutine sample(self, f)
    class(grid), intent(inout) :: self
    procedure(field) :: f
    integer :: i, j

    do j = 0, self%n + 1
      do i = 0, self%n + 1
        self%u(i, j) = f(i * self%h, j * self%h)
      end do
    end do
  end subroutine sample

  pure subroutine refresh_edges(self)
    class(grid), intent(inout) :: self

    associate (n => self%n, u => self%u)
      select case (self%edge)
      case (edge_cold)
        u(0, :) = 0
        u(n + 1, :) = 0
        u(:, 0) = 0
        u(:, n + 1) = 0
      case (edge_insulated)
        ! A mirrored edge point makes the flux across the edge zero.
        u(0, 1:n) = u(1, 1:n)
        u(n + 1, 1:n) = u(n, 1:n)
        u(:, 0) = u(:, 1)
        u(:, n + 1) = u(:, n)
      end select
    end associate
  end subroutine refresh_edges

  ! The slowest modes of a plate with cold edges decay without changing shape.
  elemental function eigenmode(x, y, kx, ky, time) result(value)
    real(dp), intent(in) :: x, y, time
    integer, intent(in) :: kx, ky
    real(dp) :: value

    value = sin(kx * pi * x) * sin(ky * pi * y) &
            * exp(-pi**2 * (kx**2 + ky**2) * time)
  end function eigenmode

  pure subroutine explicit_step(g, dt)
    type(grid), intent(inout) :: g
    real(dp), intent(in) :: dt
    real(dp) :: next(g%n, g%n), r

    r = dt / g%h**2
    associate (n => g%n, u => g%u)
      next = u(1:n, 1:n) &
             + r * (u(0:n - 1, 1:n) + u(2:n + 1, 1:n) &
                    + u(1:n, 0:n - 1) + u(1:n, 2:n + 1) &
                    - 4 * u(1:n, 1:n))
      u(1:n, 1:n) = next
    end associate
    call g%refresh_edges()
    g%time = g%time + dt
  end subroutine explicit_step

  ! Half a step is implicit along the columns, the other half along the rows.
  pure subroutine adi_step(g, dt)
    type(grid), intent(inout) :: g
    real(dp), intent(in) :: dt
    real(dp) :: half(0:g%n + 1, 0:g%n + 1), r
    integer :: i, j

    r = dt / (2 * g%h**2)
    half = g%u
    do j = 1, g%n
      half(1:g%n, j) = (1 - 2 * r) * g%u(1:g%n, j) &
                       + r * (g%u(1:g%n, j - 1) + g%u(1:g%n, j + 1))
      call solve_line(half(1:g%n, j), r, g%edge)
    end do

    half(0, :) = merge(0.0_dp, half(1, :), g%edge == edge_cold)
    half(g%n + 1, :) = merge(0.0_dp, half(g%n, :), g%edge == edge_cold)
    do i = 1, g%n
      g%u(i, 1:g%n) = (1 - 2 * r) * half(i, 1:g%n) &
                      + r * (half(i - 1, 1:g%n) + half(i + 1, 1:g%n))
      call solve_line(g%u(i, 1:g%n), r, g%edge)
    end do
    call g%refresh_edges()
    g%time = g%time + dt
  end subroutine adi_step

  ! Solves (1 + 2r) x(k) - r x(k-1) - r x(k+1) = rhs(k) in place by the Thomas
  ! algorithm. Insulated ends lose the term of the missing neighbour.
  pure subroutine solve_line(rhs, r, edge)
    real(dp), intent(inout) :: rhs(:)
    real(dp), intent(in) :: r
    integer, intent(in) :: edge
    real(dp) :: upper(size(rhs)), pivot, at_ends
    integer :: k, n

    n = size(rhs)
    at_ends = merge(1 + r, 1 + 2 * r, edge == edge_insulated)
    pivot = at_ends
    rhs(1) = rhs(1) / pivot
    upper(1) = -r / pivot
    do k = 2, n
      pivot = merge(at_ends, 1 + 2 * r, k == n) + r * upper(k - 1)
      rhs(k) = (rhs(k) + r * rhs(k - 1)) / pivot
      upper(k) = -r / pivot
    end do
    do k = n - 1, 1, -1
      rhs(k) = rhs(k) - upper(k) * rhs(k + 1)
    end do
  end subroutine solve_line

  pure function total_heat(g) result(heat)
    type(grid), intent(in) :: g
    real(dp) :: heat

    heat = sum(g%u(1:g%n, 1:g%n)) * g%h**2
  end function total_heat

  ! The largest difference from an eigenmode over the interior.
  pure function error_norm(g, kx, ky) result(worst)
    type(grid), intent(in) :: g
    integer, intent(in) :: kx, ky
    real(dp) :: worst
    real(dp) :: axis(g%n)
    integer :: i, j

    axis = [(i * g%h, i = 1, g%n)]
    worst = 0
    do j = 1, g%n
      worst = max(worst, maxval(abs( &
              g%u(1:g%n, j) - eigenmode(axis, axis(j), kx, ky, g%time))))
    end do
  end function error_norm

end module heat_grid

program heat
  use heat_grid
  implicit none
  logical :: passed

  passed = .true.
  call compare_schemes(passed)
  call check_order(passed)
  call relax_hot_spot(passed)
  if (.not. passed) error stop 'FAILED'
  print '(a)', 'all checks passed'

contains

  pure function first_mode(x, y) result(value)
    real(dp), intent(in) :: x, y
    real(dp) :: value
    value = eigenmode(x, y, 1, 1, 0.0_dp)
  end function first_mode

  pure function mixed_mode(x, y) result(value)
    real(dp), intent(in) :: x, y
    real(dp) :: value
    value = eigenmode(x, y, 2, 3, 0.0_dp)
  end function mixed_mode

  pure function hot_spot(x, y) result(value)
    real(dp), intent(in) :: x, y
    real(dp) :: value
    value = merge(100.0_dp, 0.0_dp, &
                  (x - 0.3_dp)**2 + (y - 0.6_dp)**2 < 0.03_dp)
  end function hot_spot

  ! The explicit scheme is held to short steps by its stability limit h**2/4.
  subroutine compare_schemes(passed)
    logical, intent(inout) :: passed
    type(grid) :: a, b
    integer :: step

    a = make_grid(31, edge_cold, first_mode)
    b = make_grid(31, edge_cold, first_mode)
    do step = 1, 256
      call explicit_step(a, 0.2_dp * a%h**2)
    end do
    do step = 1, 10
      call adi_step(b, 5.12_dp * b%h**2)
    end do
    print '(a, f7.4, a, 2f9.5)', 'time ', a%time, ' centre', &
      a%u(16, 16), b%u(16, 16)
    print '(a, 2es11.3)', 'errors of both schemes', &
      error_norm(a, 1, 1), error_norm(b, 1, 1)
    passed = passed .and. abs(a%time - b%time) < 1e-12_dp
    passed = passed .and. error_norm(a, 1, 1) < 1e-3_dp
    passed = passed .and. error_norm(b, 1, 1) < 1e-3_dp
  end subroutine compare_schemes

  ! Halving both steps of the second-order ADI scheme must divide the error
  ! by about four.
  subroutine check_order(passed)
    logical, intent(inout) :: passed
    integer, parameter :: sizes(4) = [7, 15, 31, 63]
    real(dp) :: errors(size(sizes))
    type(grid) :: g
    integer :: level, step

    do level = 1, size(sizes)
      g = make_grid(sizes(level), edge_cold, mixed_mode)
      do step = 1, 2 * (sizes(level) + 1)
        call adi_step(g, 0.01_dp / (2 * (sizes(level) + 1)))
      end do
      errors(level) = error_norm(g, 2, 3)
    end do
    print '(a, 4es11.3)', 'errors of finer grids  ', errors
    print '(a, 3f6.2)', 'ratios', errors(1:3) / errors(2:4)
    passed = passed .and. abs(errors(3) / errors(4) - 4) < 0.3_dp
  end subroutine check_order

  subroutine relax_hot_spot(passed)
    logical, intent(inout) :: passed
    type(grid) :: g
    real(dp) :: before
    integer :: step, i

    g = make_grid(40, edge_insulated, hot_spot)
    before = total_heat(g)
    print '(a)', 'hot spot: time, heat, coldest, hottest'
    do step = 0, 60
      if (mod(step, 15) == 0) &
        print '(f8.3, f9.4, 2f9.3)', g%time, total_heat(g), &
          minval(g%u), maxval(g%u)
      if (step == 15) call draw(g)
      call adi_step(g, 0.002_dp)
    end do
    print '(a, 5f8.3)', 'diagonal', [(g%u(i, i), i = 4, 36, 8)]
    passed = passed .and. abs(total_heat(g) - before) < 1e-9_dp
  end subroutine relax_hot_spot

  subroutine draw(g)
    type(grid), intent(in) :: g
    character(len=*), parameter :: shades = ' .:-=+*#%@'
    character(len=20) :: line
    integer :: i, j, shade

    do j = g%n, 2, -4
      do i = 1, len(line)
        shade = 1 + int(g%u(2 * i, j) / 2.5_dp)
        shade = min(max(shade, 1), len(shades))
        line(i:i) = shades(shade:shade)
      end do
      print '(3a)', '|', line, '|'
    end do
  end subroutine draw

end program heat
