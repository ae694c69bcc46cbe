-- A shop: related tables, more than 500,000 rows, generated columns, JSON, views, partitions, a trigger, an event.
-- Everything follows from row numbers, so that two loads give the same data.

CREATE DATABASE shop CHARACTER SET utf8mb4;
CREATE DATABASE audit CHARACTER SET utf8mb4;

CREATE TABLE shop.customers (
    id bigint AUTO_INCREMENT PRIMARY KEY,
    email varchar(80) NOT NULL UNIQUE,
    name varchar(80) NOT NULL,
    joined_on date NOT NULL,
    notes text,
    FULLTEXT KEY customers_notes (notes)
);

CREATE TABLE shop.addresses (
    id bigint AUTO_INCREMENT PRIMARY KEY,
    customer_id bigint NOT NULL,
    street varchar(80) NOT NULL,
    city varchar(80) NOT NULL,
    country char(2) NOT NULL,
    FOREIGN KEY (customer_id) REFERENCES shop.customers (id)
);

CREATE TABLE shop.categories (
    id int PRIMARY KEY,
    parent_id int,
    name varchar(80) NOT NULL,
    FOREIGN KEY (parent_id) REFERENCES shop.categories (id)
);

CREATE TABLE shop.products (
    id int PRIMARY KEY,
    sku char(10) NOT NULL UNIQUE,
    title varchar(80) NOT NULL,
    price bigint NOT NULL CHECK (price >= 0),
    attributes json NOT NULL,
    weight int AS (json_value(attributes, '$.weight')) STORED
);

CREATE TABLE shop.product_categories (
    product_id int NOT NULL,
    category_id int NOT NULL,
    PRIMARY KEY (product_id, category_id),
    FOREIGN KEY (product_id) REFERENCES shop.products (id),
    FOREIGN KEY (category_id) REFERENCES shop.categories (id)
);

CREATE TABLE shop.warehouses (id int PRIMARY KEY, code varchar(8) NOT NULL UNIQUE, location point NOT NULL);

CREATE TABLE shop.stock (
    warehouse_id int NOT NULL,
    product_id int NOT NULL,
    quantity int NOT NULL,
    PRIMARY KEY (warehouse_id, product_id),
    FOREIGN KEY (warehouse_id) REFERENCES shop.warehouses (id),
    FOREIGN KEY (product_id) REFERENCES shop.products (id)
);

CREATE TABLE shop.orders (
    id bigint AUTO_INCREMENT PRIMARY KEY,
    customer_id bigint NOT NULL,
    status enum('placed', 'paid', 'shipped', 'returned') NOT NULL,
    placed_at datetime NOT NULL,
    KEY orders_by_customer (customer_id, placed_at),
    FOREIGN KEY (customer_id) REFERENCES shop.customers (id)
);

CREATE TABLE shop.order_lines (
    order_id bigint NOT NULL,
    line int NOT NULL,
    product_id int NOT NULL,
    quantity int NOT NULL CHECK (quantity > 0),
    price bigint NOT NULL,
    PRIMARY KEY (order_id, line),
    FOREIGN KEY (order_id) REFERENCES shop.orders (id),
    FOREIGN KEY (product_id) REFERENCES shop.products (id)
);

CREATE TABLE shop.payments (
    id bigint AUTO_INCREMENT PRIMARY KEY,
    order_id bigint NOT NULL,
    amount decimal(12, 2) NOT NULL,
    reference varbinary(32) NOT NULL,
    FOREIGN KEY (order_id) REFERENCES shop.orders (id)
);

CREATE TABLE shop.shipments (
    id bigint AUTO_INCREMENT PRIMARY KEY,
    order_id bigint NOT NULL,
    warehouse_id int NOT NULL,
    sent_at datetime NOT NULL,
    FOREIGN KEY (order_id) REFERENCES shop.orders (id),
    FOREIGN KEY (warehouse_id) REFERENCES shop.warehouses (id)
);

CREATE TABLE shop.reviews (
    product_id int NOT NULL,
    customer_id bigint NOT NULL,
    stars tinyint NOT NULL CHECK (stars BETWEEN 1 AND 5),
    body text,
    PRIMARY KEY (product_id, customer_id),
    FOREIGN KEY (product_id) REFERENCES shop.products (id),
    FOREIGN KEY (customer_id) REFERENCES shop.customers (id)
);

CREATE TABLE audit.events (
    id bigint AUTO_INCREMENT,
    happened_at datetime NOT NULL,
    kind varchar(20) NOT NULL,
    payload json NOT NULL,
    PRIMARY KEY (id, happened_at)
) PARTITION BY RANGE COLUMNS (happened_at) (
    PARTITION events_2025 VALUES LESS THAN ('2026-01-01'),
    PARTITION events_2026 VALUES LESS THAN ('2027-01-01')
);

CREATE TABLE audit.changes (number bigint PRIMARY KEY, order_id bigint NOT NULL);

-- Numbers to make rows of, by a decimal digit each.
CREATE TABLE audit.digits (d int PRIMARY KEY);
INSERT INTO audit.digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
CREATE TABLE audit.numbers (i int PRIMARY KEY);
INSERT INTO audit.numbers SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d
FROM audit.digits a, audit.digits b, audit.digits c, audit.digits e, audit.digits f WHERE f.d < 8;

INSERT INTO shop.customers
SELECT i, concat('customer', i, '@example.com'), concat('Customer ', md5(i)), DATE '2018-01-01' + INTERVAL i % 2500 DAY,
       CASE WHEN i % 7 = 0 THEN repeat(concat('prefers ', md5(i * 3), ' '), 4) END
FROM audit.numbers WHERE i <= 40000;

INSERT INTO shop.addresses
SELECT i, 1 + i % 40000, concat(i, ' ', substr(md5(i), 1, 8), ' Street'), concat('City ', i % 500), elt(1 + i % 4, 'DE', 'IE', 'PT', 'SE')
FROM audit.numbers WHERE i <= 48000;

INSERT INTO shop.categories SELECT i, nullif(i DIV 6, 0), concat('Category ', i) FROM audit.numbers WHERE i <= 40 ORDER BY i;

INSERT INTO shop.products (id, sku, title, price, attributes)
SELECT i, concat('SKU-', lpad(i, 6, '0')), concat('Product ', md5(i)), 100 + (i * 7919) % 20000,
       json_object('weight', i % 90, 'tags', json_array(concat('t', i % 20), concat('t', i % 33)))
FROM audit.numbers WHERE i <= 5000;

INSERT INTO shop.product_categories
SELECT DISTINCT p.i, 1 + (p.i * k.i) % 40 FROM audit.numbers p, audit.numbers k WHERE p.i <= 5000 AND k.i <= 2;

INSERT INTO shop.warehouses SELECT i, concat('WH', i), point(i * 3.5, 50 - i) FROM audit.numbers WHERE i <= 6;
INSERT INTO shop.stock SELECT w.i, p.i, (p.i * w.i * 31) % 400 FROM audit.numbers w, audit.numbers p WHERE w.i <= 6 AND p.i <= 5000;

INSERT INTO shop.orders
SELECT i, 1 + (i * 7) % 40000, elt(1 + i % 4, 'placed', 'paid', 'shipped', 'returned'), TIMESTAMP '2025-01-01 00:00:00' + INTERVAL 6 * i MINUTE
FROM audit.numbers;

INSERT INTO shop.order_lines
SELECT o.i, l.i, 1 + (o.i * l.i * 13) % 5000, 1 + (o.i + l.i) % 5, 100 + (o.i * l.i) % 9000
FROM audit.numbers o JOIN audit.numbers l ON l.i <= 3 WHERE l.i <= 2 + o.i % 2;

INSERT INTO shop.payments SELECT i, i, (1000 + i % 50000) / 100, unhex(sha2(i, 256)) FROM audit.numbers WHERE i <= 70000;

INSERT INTO shop.shipments SELECT i, i, 1 + i % 6, TIMESTAMP '2025-01-03 00:00:00' + INTERVAL 6 * i MINUTE FROM audit.numbers WHERE i <= 50000;

INSERT IGNORE INTO shop.reviews
SELECT 1 + i % 5000, 1 + (i * 11) % 40000, 1 + i % 5, CASE WHEN i % 3 = 0 THEN concat('Review ', md5(i)) END
FROM audit.numbers WHERE i <= 20000;

INSERT INTO audit.events
SELECT i, TIMESTAMP '2025-02-01 00:00:00' + INTERVAL 15 * i MINUTE, 'login', json_object('customer', 1 + i % 40000, 'agent', md5(i % 50))
FROM audit.numbers WHERE i <= 40000;

DROP TABLE audit.numbers, audit.digits;

CREATE VIEW shop.order_totals AS
SELECT order_id, sum(quantity * price) AS total, count(*) AS line_count FROM shop.order_lines GROUP BY order_id;

CREATE VIEW shop.low_stock AS
SELECT p.sku, sum(s.quantity) AS quantity FROM shop.stock s JOIN shop.products p ON p.id = s.product_id
GROUP BY p.sku HAVING sum(s.quantity) < 100;

CREATE TRIGGER shop.payment_logged AFTER INSERT ON shop.payments FOR EACH ROW
INSERT INTO audit.events (happened_at, kind, payload)
VALUES ('2026-01-01 00:00:00', 'payment', json_object('order', NEW.order_id, 'amount', NEW.amount));

-- It would charge cards in life. In quarantine it must not run: the evidence has a line for it.
CREATE EVENT shop.charge_due_payments ON SCHEDULE EVERY 1 SECOND DO
INSERT INTO shop.payments (order_id, amount, reference) VALUES (1, 1.00, 'charged twice');
